"""HTTPS and SVCB parameters."""

import dns.rdata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.wire.dns import without_parameters
from ramnet.wire.dns.svcb import ECH, IPV4_HINT, IPV6_HINT
from ramnet.wire.result import Malformed

UNWANTED = frozenset((ECH, IPV4_HINT, IPV6_HINT))


def wire(text: str) -> bytes:
    return dns.rdata.from_text("IN", "HTTPS", text).to_digestable()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1 . alpn=h2,h3 port=8443", "1 . alpn=h2,h3 port=8443"),
        ("1 . alpn=h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1", "1 . alpn=h2"),
        ("1 svc.example. ech=AAUBAgMEBQ== key65000=abc", "1 svc.example. key65000=abc"),
        ("0 other.example.", "0 other.example."),
        ("1 . mandatory=alpn alpn=h2 ech=AAUBAgMEBQ==", "1 . mandatory=alpn alpn=h2"),
    ],
)
def test_what_is_unwanted_goes_and_the_rest_stays(before: str, after: str) -> None:
    assert without_parameters(wire(before), UNWANTED) == wire(after)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(wire("1 . mandatory=ech ech=AAUBAgMEBQ=="), id="ech is mandatory"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0\1", id="no target"),
        pytest.param(b"\0\1\xc0\x0c", id="compressed target"),
        pytest.param(b"\0\1" + b"\x3f" + b"a" * 63, id="target without an end"),
        pytest.param(b"\0\1\0\0\1\0", id="half a parameter"),
        pytest.param(b"\0\1\0\0\1\0\5abc", id="parameter beyond the end"),
        pytest.param(b"\0\1\0\0\5\0\0\0\1\0\0", id="out of order"),
        pytest.param(b"\0\1\0\0\5\0\0\0\5\0\0", id="twice"),
        pytest.param(b"\0\1\0\0\0\0\1a", id="odd list of mandatory ones"),
    ],
)
def test_refused(data: bytes) -> None:
    assert isinstance(without_parameters(data, UNWANTED), Malformed)


@given(st.binary(max_size=80))
def test_any_octets_are_taken(data: bytes) -> None:
    result = without_parameters(b"\0\1\0" + data, UNWANTED)
    if isinstance(result, bytes):
        assert without_parameters(result, UNWANTED) == result
