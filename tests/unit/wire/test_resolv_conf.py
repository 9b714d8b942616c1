"""``resolv.conf`` as the C library reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.wire.resolv_conf import ResolvConf, parse_resolv_conf


def test_a_usual_one() -> None:
    text = """\
# made by something
; and commented
nameserver 192.0.2.53
nameserver 2001:db8::53   # a trailing remark
search Corp.Example. sub.corp.example
options ndots:5 timeout:2 attempts:9 rotate edns0
"""
    assert parse_resolv_conf(text) == ResolvConf(
        ("192.0.2.53", "2001:db8::53"), ("corp.example", "sub.corp.example"), 5, 2, 5
    )


def test_nothing_said_is_the_library_s_default() -> None:
    assert parse_resolv_conf("") == ResolvConf((), (), 1, 5, 2)


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("domain a.example\nsearch b.example c.example", ("b.example", "c.example")),
        ("search b.example\ndomain a.example ignored.example", ("a.example",)),
        ("search .", ()),
        ("search", ()),
        ("search a.example\nsearch", ()),
    ],
)
def test_the_last_search_or_domain_wins(text: str, search: tuple[str, ...]) -> None:
    assert parse_resolv_conf(text).search == search


def test_three_nameservers_are_used() -> None:
    text = "".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6))
    assert parse_resolv_conf(text).nameservers == ("192.0.2.1", "192.0.2.2", "192.0.2.3")


@pytest.mark.parametrize(
    "line", ["nameserver", "nameserver dns.example", "nameserver 1.2.3", "Nameserver 192.0.2.1"]
)
def test_what_is_no_nameserver_is_passed_over(line: str) -> None:
    assert parse_resolv_conf(f"{line}\nnameserver 192.0.2.9\n").nameservers == ("192.0.2.9",)


def test_a_zone_index_is_kept() -> None:
    assert parse_resolv_conf("nameserver fe80::1%eth0").nameservers == ("fe80::1%eth0",)


@pytest.mark.parametrize("stub", ["127.0.0.53", "127.0.0.11", "::1", "::ffff:127.0.0.1"])
def test_stubs_are_told(stub: str) -> None:
    assert parse_resolv_conf(f"nameserver 192.0.2.1\nnameserver {stub}").loopback == (stub,)


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    parse_resolv_conf(text)
    parse_resolv_conf(f"options ndots:{text}\nsearch {text}\nnameserver {text}")
