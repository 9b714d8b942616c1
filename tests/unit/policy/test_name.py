"""One spelling for every name, and a reason for every text that is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.policy import InvalidNameError, normalise, split_host_port
from ramnet.policy.name import ends_in_number


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("ghcr.io", "ghcr.io"),
        ("GHCR.IO", "ghcr.io"),
        ("gHcR.Io.", "ghcr.io"),
        ("localhost", "localhost"),
        ("_dns-sd._udp.corp.example", "_dns-sd._udp.corp.example"),
        ("r3---sn-x.example", "r3---sn-x.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        # Full-width letters and the full stops of other scripts.
        ("\uff47\uff48\uff43\uff52\uff0e\uff49\uff4f", "ghcr.io"),
        ("ghcr\u3002io", "ghcr.io"),
        ("ghcr\uff61io\u3002", "ghcr.io"),
        # The Kelvin sign and the long s are letters of ASCII in disguise.
        ("\u212aubernetes.example", "kubernetes.example"),
        ("ghcr.i\u00ado", "ghcr.io"),
        ("10.0.0.5", "10.0.0.5"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_spellings_of_one_name_become_one(typed: str, name: str) -> None:
    assert normalise(typed) == name


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "empty"),
        (".", "empty"),
        ("[example.com]", "brackets"),
        ("[::1]", "brackets"),
        ("::1", "port or an address"),
        ("ghcr.io:443", "port"),
        ("ghcr.io ", "space"),
        (" ghcr.io", "space"),
        ("gh cr.io", "space"),
        ("ghcr.io\n", "space"),
        ("ghcr.io\t", "space"),
        ("ghcr..io", "empty label"),
        (".ghcr.io", "empty label"),
        ("ghcr.io..", "empty label"),
        ("a" * 64 + ".example", "label is longer"),
        ("-a.example", "hyphen"),
        ("a-.example", "hyphen"),
        ("https://ghcr.io", "scheme"),
        ("ghcr.io/org", "path"),
        ("user@ghcr.io", "'@'"),
        ("ghcr.io\x00.example", "'\\x00'"),
        ("ghcr%2eio", "'%'"),
        ("*.ghcr.io", "wildcard"),
        # Would map to "a/c", to "1." and to nothing.
        ("\u2100.example", "path"),
        ("\u2488\u2488.example", "internationalised"),
        ("\u00ad", "empty"),
        # A-labels that nothing encodes to, hide ASCII, or decode to upper case.
        ("xn--.example", "hyphen"),
        ("xn--a.example", "internationalised"),
        ("xn--ghcr-.io", "hyphen"),
        ("xn--ghcr.io", "internationalised"),
        ("xn--99999999999.example", "internationalised"),
        ("xn--Bcher-kva8445foa.example", "internationalised"),
        ("\ud800.example", "internationalised"),
        ("a\u200db.example", "internationalised"),
        ("\u0627a.example", "internationalised"),
    ],
)
def test_what_is_no_name_is_refused_with_its_reason(typed: str, reason: str) -> None:
    with pytest.raises(InvalidNameError) as refused:
        normalise(typed)
    assert reason in refused.value.reason
    assert "\n" not in str(refused.value)
    assert refused.value.name == typed


def test_253_octets_are_a_name_and_254_are_none() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert len(longest) == 253
    assert normalise(longest) == normalise(longest + ".") == longest
    with pytest.raises(InvalidNameError, match="longer than 253"):
        normalise("a" + longest)


def test_a_million_characters_are_refused_at_once() -> None:
    for text in ("a" * 10**6, "a." * 10**6, "ü" * 10**6, "\u00ad" * 10**6, "-" * 10**6):
        with pytest.raises(InvalidNameError) as refused:
            normalise(text)
        assert len(str(refused.value)) < 500


def test_a_long_text_never_reaches_the_unicode_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases of idna before 3.7 take quadratic time for one (CVE-2024-3651)."""

    def reached(*_: object, **__: object) -> str:
        pytest.fail("the whole text was mapped")

    monkeypatch.setattr("idna.uts46_remap", reached)
    with pytest.raises(InvalidNameError, match="longer than 253"):
        normalise("ü" * 1025)


@given(st.text(max_size=300))
def test_a_name_is_a_fixed_point_and_plain_ascii(text: str) -> None:
    try:
        name = normalise(text)
    except InvalidNameError:
        return
    assert normalise(name) == name == name.lower()
    assert normalise(name.upper() + ".") == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert all(1 <= len(label) <= 63 for label in name.split("."))


@given(st.text(alphabet="aAüÜß.。xn-1\u0301\u200d\U0001f600", max_size=40))
def test_unicode_spellings_never_escape_the_rules(text: str) -> None:
    try:
        name = normalise(text)
    except InvalidNameError:
        return
    assert name.isascii()
    assert normalise(name) == name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ghcr.io", ("ghcr.io", None)),
        ("ghcr.io:443", ("ghcr.io", 443)),
        ("GHCR.io.:1", ("GHCR.io.", 1)),
        ("[::1]:5000", ("::1", 5000)),
        ("[::1]", ("::1", None)),
        ("::1", ("::1", None)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
        ("[::ffff:10.0.0.1]:80", ("::ffff:10.0.0.1", 80)),
        ("a:65535", ("a", 65535)),
    ],
)
def test_host_and_port_are_split(text: str, parts: tuple[str, int | None]) -> None:
    assert split_host_port(text) == parts


@pytest.mark.parametrize(
    "text",
    ["a:", "a:0", "a:65536", "a:+1", "a: 1", "a:1 ", "a:\u0661", "a:1:2", "[a]:1", "[a.example]",
     "[::1", "[::1]1", "[::1]:", "[]", "a:000080", "a:1_0", "[10.0.0.1]:80"],
)  # fmt: skip
def test_ports_and_brackets_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidNameError):
        split_host_port(text)


@given(st.text(alphabet="a.:[]0123456789%", max_size=20))
def test_splitting_any_text_gives_parts_or_a_reason(text: str) -> None:
    try:
        host, port = split_host_port(text)
    except InvalidNameError:
        return
    assert port is None or 0 < port < 65536
    assert "[" not in host or not text.startswith("[")


@pytest.mark.parametrize("name", ["10.0.0.5", "1", "0x7f.1", "017700000001", "a.0x", "2130706433"])
def test_names_that_a_client_may_take_for_an_address(name: str) -> None:
    assert ends_in_number(name)


@pytest.mark.parametrize("name", ["a", "1a", "registry1", "10.0.0.5a", "0xg", "x0", "1.example"])
def test_names_that_no_client_takes_for_an_address(name: str) -> None:
    assert not ends_in_number(name)
