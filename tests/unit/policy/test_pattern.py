"""What an administrator writes, and which names it means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.policy import InvalidNameError
from ramnet.policy.name import normalise
from ramnet.policy.pattern import Kind, Pattern, glob_regex, parse_domain, parse_host
from tests.unit.policy import strategies
from tests.unit.policy.build import hosts


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("ghcr.io", (Kind.EXACT, "ghcr.io", 0, "")),
        ("GHCR.io.", (Kind.EXACT, "ghcr.io", 0, "")),
        ("ghcr.io:5000", (Kind.EXACT, "ghcr.io", 5000, "")),
        ("*.gcr.io", (Kind.ONE, "gcr.io", 0, "")),
        ("**.gcr.io:443", (Kind.BELOW, "gcr.io", 443, "")),
        ("*.BÜCHER.example", (Kind.ONE, "xn--bcher-kva.example", 0, "")),
        ("*-docker.pkg.dev", (Kind.GLOB, "pkg.dev", 0, "*-docker.pkg.dev")),
        ("p-*-x.s3.*.a.com", (Kind.GLOB, "a.com", 0, "p-*-x.s3.*.a.com")),
        ("**.a-*.com", (Kind.GLOB, "com", 0, "**.a-*.com")),
        ("*.*.com", (Kind.GLOB, "com", 0, "*.*.com")),
        ("registry.*", (Kind.GLOB, "", 0, "registry.*")),
        ("*\u3002gcr.io", (Kind.ONE, "gcr.io", 0, "")),
        ("10.0.0.5:5000", (Kind.ADDRESS, "10.0.0.5", 5000, "")),
        ("0x7f000001", (Kind.ADDRESS, "0x7f000001", 0, "")),
        ("0177.0.0.1", (Kind.ADDRESS, "0177.0.0.1", 0, "")),
        ("*.0.0.5", (Kind.ADDRESS, "*.0.0.5", 0, "")),
        ("::1", (Kind.ADDRESS, "::1", 0, "")),
        ("[fe80::1%eth0]:80", (Kind.ADDRESS, "[fe80::1%eth0]:80", 0, "")),
    ],
)
def test_hosts_are_read(text: str, pattern: tuple[Kind, str, int, str]) -> None:
    assert parse_host(text) == pattern


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("*", "every name"),
        ("**", "every name"),
        ("*.*", "every name"),
        ("**.*", "every name"),
        ("*:443", "every name"),
        ("a.**.example", "first label"),
        ("a**b.example", "first label"),
        ("***.example", "first label"),
        ("*ü.example", "a-z"),
        ("*.", "every name"),
        ("", "empty"),
        ("*..example", "empty label"),
        ("*-" + "a" * 64 + ".example", "label is longer"),
        ("*.*" + ".aaaaaaa" * 40, "longer than 253"),
        ("a" * 2000, "longer than 253"),
        ("*." * 2000 + "com", "longer than 253"),
        ("https://ghcr.io", "scheme"),
        ("https://*.ghcr.io", "a-z"),
        ("ghcr.io/org", "path"),
        ("10.0.0.0/8", "path"),
        ("ghcr.io:0", "port"),
        ("ghcr.io:http", "port"),
        ("[ghcr.io]", "brackets"),
        (" ghcr.io", "space"),
        ("*.ghcr io", "space"),
        ("xn--a.*.example", "internationalised"),
    ],
)
def test_what_is_no_pattern_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidNameError) as refused:
        parse_host(text)
    assert reason in refused.value.reason


def test_a_domain_has_no_wildcard_and_may_have_a_port() -> None:
    assert parse_domain("corp.example:5000") == Pattern(Kind.DOMAIN, "corp.example", 5000, "")
    with pytest.raises(InvalidNameError, match="write it as host"):
        parse_domain("*.corp.example")


@given(strategies.hosts(), st.sampled_from(["", ":80"]))
def test_a_pattern_is_written_as_it_was_read(host: str, port: str) -> None:
    pattern = parse_host(host + port)
    assert parse_host(pattern.text) == pattern


@given(st.text(max_size=80) | st.text(alphabet="a*.-:1[]ü", max_size=20))
def test_any_text_is_a_pattern_or_has_a_reason(text: str) -> None:
    for parse in (parse_host, parse_domain):
        try:
            pattern = parse(text)
        except InvalidNameError:
            continue
        if pattern.kind != Kind.ADDRESS and pattern.base:
            assert normalise(pattern.base) == pattern.base


@pytest.mark.parametrize(
    ("host", "matching", "others"),
    [
        ("a.com", ["a.com"], ["b.a.com", "com", "xa.com", "a.com.b"]),
        ("*.a.com", ["b.a.com"], ["a.com", "c.b.a.com", "ba.com"]),
        ("**.a.com", ["b.a.com", "c.b.a.com"], ["a.com", "ba.com"]),
        ("x-*.a.com", ["x-.a.com", "x-1.a.com"], ["x.a.com", "x-1.b.a.com", "b.x-1.a.com"]),
        ("*.*.com", ["b.a.com"], ["a.com", "c.b.a.com"]),
        ("**.x-*.com", ["b.x-1.com", "c.b.x-1.com"], ["x-1.com", "b.x1.com"]),
        ("a.*", ["a.com", "a.b"], ["a", "a.b.c", "a.1"]),
        ("a*a.com", ["aa.com", "aba.com"], ["a.com"]),
    ],
)
def test_patterns_match_what_they_say(host: str, matching: list[str], others: list[str]) -> None:
    policy = hosts(host)
    assert [name for name in matching if not policy.decide(name).allowed] == []
    assert [name for name in others if policy.decide(name).allowed] == []


@pytest.mark.parametrize(
    "host", ["*.5", "1*.0.0.5", "1*.0.0.*", "**.0.0.*", "*.a.*", "0x*", "*.0x*"]
)
def test_no_wildcard_reaches_an_address(host: str) -> None:
    policy = hosts(host, "10.0.0.5", "2130706433")
    for address in ("10.0.0.5", "1.0.0.5", "2130706433", "0x7f000001", "0x7f.1", "a.a.5"):
        assert not policy.decide(address).allowed


def test_many_stars_do_not_make_matching_slow() -> None:
    """Without atomic groups this one match outlasts the time limit of a test by far."""
    regex = glob_regex("*a" * 30 + "*b.example")
    assert regex.fullmatch("a" * 63 + ".example") is None
    assert regex.fullmatch("a" * 62 + "b.example") is not None
