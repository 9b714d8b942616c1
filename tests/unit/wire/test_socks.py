"""SOCKS 4, 4a and 5: requests by the letter, and protocols that begin alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.wire.result import ABSENT, Absent, Malformed, NeedMore
from ramnet.wire.socks import (
    NO_ACCEPTABLE_METHOD,
    Credentials,
    Reply,
    Socks4Request,
    Socks5Greeting,
    Socks5Request,
    credentials_reply,
    read_credentials,
    read_request,
    read_socks5_request,
    socks4_reply,
    socks5_method,
    socks5_reply,
)

from .contract import check_beginnings

V4 = b"\4\1\1\xbb"


@pytest.mark.parametrize(
    ("data", "host", "command"),
    [
        (V4 + b"\xc0\0\2\1\0", "192.0.2.1", 1),
        (V4 + b"\xc0\0\2\1someone\0", "192.0.2.1", 1),
        (b"\4\2\1\xbb\xc0\0\2\1\0", "192.0.2.1", 2),
        (V4 + b"\0\0\0\0\0", "0.0.0.0", 1),
        (V4 + b"\0\0\0\1\0Registry.Example\0", "Registry.Example", 1),
        (V4 + b"\0\0\0\xffme\x00192.0.2.1\0", "192.0.2.1", 1),
        (V4 + b"\0\0\0\1" + b"u" * 255 + b"\0" + b"h" * 255 + b"\0", "h" * 255, 1),
    ],
)
def test_socks4(data: bytes, host: str, command: int) -> None:
    request = check_beginnings(read_request, data + b"\x16\3\1")
    assert request == Socks4Request(host, 443, command, len(data))


@pytest.mark.parametrize(
    "data",
    [
        V4 + b"\xc0\0\2\1" + b"u" * 256,
        V4 + b"\0\0\0\1\0" + b"h" * 256,
        V4 + b"\0\0\0\1\0\0",
        V4 + b"\0\0\0\1\0a b\0",
        V4 + b"\0\0\0\1\0b\xfc\0",
    ],
)
def test_socks4_that_is_refused(data: bytes) -> None:
    assert isinstance(check_beginnings(read_request, data), Malformed)


@pytest.mark.parametrize(
    "data",
    [
        b"\4\0\0\0\5\0\0\0\0",  # Cassandra, protocol version 4, OPTIONS
        b"\5\0\0\0\5\0\0\0\0",  # and version 5
        b"\4\3\0\0",
        b"GET ",
        b"\x16\3\1",
        b"\0",
    ],
)
def test_other_protocols_are_absent(data: bytes) -> None:
    assert check_beginnings(read_request, data) is ABSENT


def test_socks5_greeting() -> None:
    data = b"\5\3\0\1\2"
    assert check_beginnings(read_request, data + b"\5\1") == Socks5Greeting((0, 1, 2), 5)
    assert read_request(data[:1]) == NeedMore(2)
    assert read_request(data[:2]) == NeedMore(5)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (b"\1\xc0\0\2\1", "192.0.2.1"),
        (b"\3\x0aRegistry.X", "Registry.X"),
        (b"\3\xff" + b"h" * 255, "h" * 255),
        (b"\4\x20\1\x0d\xb8" + b"\0" * 11 + b"\1", "2001:db8::1"),
        (b"\4" + b"\0" * 10 + b"\xff\xff\x7f\0\0\1", "::ffff:7f00:1"),
    ],
)
@pytest.mark.parametrize("command", [1, 2, 3, 9])
def test_socks5_request(address: bytes, host: str, command: int) -> None:
    data = bytes((5, command, 0)) + address + b"\x01\xbb"
    request = check_beginnings(read_socks5_request, data + b"\x16\3\1")
    assert request == Socks5Request(host, 443, command, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\4",
        b"\5\1\1\1\xc0\0\2\1\0\1",
        b"\5\1\0\2\xc0\0\2\1\0\1",
        b"\5\1\0\3\0\0\1",
        b"\5\1\0\3\3a\0b\0\1",
    ],
)
def test_socks5_requests_that_are_refused(data: bytes) -> None:
    assert isinstance(check_beginnings(read_socks5_request, data), Malformed)


def test_credentials() -> None:
    data = b"\1\2me\6secret"
    credentials = check_beginnings(read_credentials, data + b"\5\1")
    assert credentials == Credentials(b"me", b"secret", len(data))
    assert "secret" not in repr(credentials)
    assert check_beginnings(read_credentials, b"\1\0\0") == Credentials(b"", b"", 3)
    assert isinstance(read_credentials(b"\5\1\0"), Malformed)


def test_answers() -> None:
    assert socks4_reply(granted=True) == b"\0\x5a" + b"\0" * 6
    assert socks4_reply(granted=False) == b"\0\x5b" + b"\0" * 6
    assert socks5_method(NO_ACCEPTABLE_METHOD) == b"\5\xff"
    assert socks5_reply(Reply.NOT_ALLOWED) == b"\5\2\0\1" + b"\0" * 6
    assert credentials_reply(accepted=True) == b"\1\0"
    assert credentials_reply(accepted=False) == b"\1\1"


BYTES = st.binary(max_size=40) | st.builds(
    lambda head, tail: head + tail,
    st.sampled_from([b"\4\1", b"\4\1\0\1\0\0\0\1", b"\5", b"\5\1\0\3", b"\5\1\0\4", b"\1"]),
    st.binary(max_size=600),
)


@given(BYTES)
def test_any_bytes_give_one_of_the_results(data: bytes) -> None:
    first = check_beginnings(read_request, data)
    assert isinstance(first, Socks4Request | Socks5Greeting | NeedMore | Malformed | Absent)
    second = check_beginnings(read_socks5_request, data)
    assert isinstance(second, Socks5Request | NeedMore | Malformed)
    third = check_beginnings(read_credentials, data)
    assert isinstance(third, Credentials | NeedMore | Malformed)
