"""SOCKS 4, 4a and 5, as a server reads and answers them (RFC 1928, RFC 1929).

For SOCKS 4 and 4a the only specifications are Ying-Da Lee's notes of 1992.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from .name import host_text
from .reader import BrokenError
from .result import ABSENT, Absent, Malformed, NeedMore

CONNECT: Final = 1
BIND: Final = 2
UDP_ASSOCIATE: Final = 3

NO_AUTHENTICATION: Final = 0
USER_PASSWORD: Final = 2
NO_ACCEPTABLE_METHOD: Final = 255

_MAX_FIELD = 255
_IPV4, _NAME, _IPV6 = 1, 3, 4


@dataclass(frozen=True, slots=True)
class Socks4Request:
    """A whole SOCKS 4 or 4a request."""

    host: str
    """A name (4a) or the text of an IPv4 address (4)."""
    port: int
    command: int
    length: int
    """Bytes of the request."""


@dataclass(frozen=True, slots=True)
class Socks5Greeting:
    """The first message of SOCKS 5: how the client can authenticate."""

    methods: tuple[int, ...]
    length: int


@dataclass(frozen=True, slots=True)
class Socks5Request:
    """What a SOCKS 5 client wants, after the method was agreed."""

    host: str
    """A name, or the text of an IPv4 or IPv6 address."""
    port: int
    command: int
    length: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """User and password as RFC 1929 carries them."""

    user: bytes
    password: bytes = field(repr=False)
    length: int


class Reply(IntEnum):
    """Reply codes of SOCKS 5 (RFC 1928 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    COMMAND_NOT_SUPPORTED = 7


def read_request(
    data: bytes | memoryview,
) -> Socks4Request | Socks5Greeting | NeedMore | Malformed | Absent:
    """Read the first message of a SOCKS client of any version.

    Cassandra's protocol begins with 4 or 5 too, but a zero follows: no SOCKS command and no
    SOCKS 5 client without a method, so that is ``ABSENT``.
    """
    data = bytes(data[: 9 + 2 * (_MAX_FIELD + 1)])
    if not data:
        return NeedMore(1)
    if data[0] not in (4, 5):
        return ABSENT
    if len(data) < 2:
        return NeedMore(2)
    if data[0] == 5:
        return _read_greeting(data)
    if data[1] not in (CONNECT, BIND):
        return ABSENT
    try:
        return _read_socks4(data)
    except BrokenError as broken:
        return Malformed(str(broken))


def _read_greeting(data: bytes) -> Socks5Greeting | NeedMore | Absent:
    length = 2 + data[1]
    if length == 2:
        return ABSENT
    if len(data) < length:
        return NeedMore(length)
    return Socks5Greeting(tuple(data[2:length]), length)


def _read_socks4(data: bytes) -> Socks4Request | NeedMore:
    if len(data) < 9:
        return NeedMore(9)
    command, port, address = data[1], int.from_bytes(data[2:4], "big"), data[4:8]
    end = _end_of_string(data, 8)
    if end is None:
        return NeedMore(len(data) + 1)
    if address[:3] != b"\0\0\0" or address[3] == 0:
        return Socks4Request(str(IPv4Address(address)), port, command, end + 1)
    name_end = _end_of_string(data, end + 1)
    if name_end is None:
        return NeedMore(len(data) + 1)
    return Socks4Request(host_text(data[end + 1 : name_end]), port, command, name_end + 1)


def _end_of_string(data: bytes, start: int) -> int | None:
    """Where the NUL stands; None if it is still to come."""
    end = data.find(0, start, start + _MAX_FIELD + 1)
    if end >= 0:
        return end
    if len(data) > start + _MAX_FIELD:
        raise BrokenError(f"a SOCKS string is longer than {_MAX_FIELD} bytes")
    return None


def read_socks5_request(data: bytes | memoryview) -> Socks5Request | NeedMore | Malformed:
    """Read the request of RFC 1928 4, which follows the agreement on a method."""
    data = bytes(data[: 7 + _MAX_FIELD])
    if data and data[0] != 5:
        return Malformed("the SOCKS request is not of version 5")
    if len(data) < 5:
        return NeedMore(5)
    sizes = {_IPV4: 4, _IPV6: 16, _NAME: 1 + data[4]}
    kind = data[3]
    if data[2] != 0 or kind not in sizes:
        return Malformed("the SOCKS request has an unknown type of address")
    end = 4 + sizes[kind]
    if len(data) < end + 2:
        return NeedMore(end + 2)
    try:
        host = _host(kind, data[4:end])
    except BrokenError as broken:
        return Malformed(str(broken))
    return Socks5Request(host, int.from_bytes(data[end : end + 2], "big"), data[1], end + 2)


def _host(kind: int, address: bytes) -> str:
    if kind == _NAME:
        return host_text(address[1:])
    return str(IPv4Address(address) if kind == _IPV4 else IPv6Address(address))


def read_credentials(data: bytes | memoryview) -> Credentials | NeedMore | Malformed:
    """Read the user and password of RFC 1929 2."""
    data = bytes(data[: 3 + 2 * _MAX_FIELD])
    if data and data[0] != 1:
        return Malformed("the SOCKS authentication is not of version 1")
    if len(data) < 3:
        return NeedMore(3)
    user_end = 2 + data[1]
    if len(data) < user_end + 1:
        return NeedMore(user_end + 1)
    end = user_end + 1 + data[user_end]
    if len(data) < end:
        return NeedMore(end)
    return Credentials(data[2:user_end], data[user_end + 1 : end], end)


def socks4_reply(*, granted: bool) -> bytes:
    """The answer to a SOCKS 4 or 4a request: 90 granted, 91 refused."""
    return bytes((0, 90 if granted else 91, 0, 0, 0, 0, 0, 0))


def socks5_method(method: int) -> bytes:
    """The answer to a greeting; 255 says that no method of the client's will do."""
    return bytes((5, method))


def credentials_reply(*, accepted: bool) -> bytes:
    """The answer to user and password (RFC 1929 2)."""
    return bytes((1, 0 if accepted else 1))


def socks5_reply(reply: Reply) -> bytes:
    """The answer to a SOCKS 5 request; the bound address is given as 0.0.0.0:0."""
    return bytes((5, reply, 0, _IPV4, 0, 0, 0, 0, 0, 0))
