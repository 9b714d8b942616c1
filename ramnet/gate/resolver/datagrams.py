"""Two ways to take a question and send the answer from the address that was asked."""

import socket
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

_IP_PKTINFO: Final = 8  # linux/in.h
_NO_INTERFACE: Final = b"\0\0\0\0"
_ANCILLARY: Final = 128

Ancillary = tuple[int, int, bytes]


class Way(Protocol):
    """What the server needs of one; both raise OSError."""

    receive: Callable[[int], tuple[bytes, Any]]
    """At most so many octets, and whom to answer."""
    send: Callable[[bytes, Any], int]
    """Octets to whom ``receive`` named."""


class OwnAddress:
    """The kernel's NAT gives the reply its source."""

    def __init__(self, listener: socket.socket) -> None:
        self.receive: Callable[[int], tuple[bytes, Any]] = listener.recvfrom
        self.send: Callable[[bytes, Any], int] = listener.sendto


class _Asker(NamedTuple):
    address: Any
    ancillary: list[Ancillary]


class AnyAddress:
    """The socket takes what is meant for any address (ip(7) IP_PKTINFO, RFC 3542 section 6.2)."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.receive: Callable[[int], tuple[bytes, Any]] = self._receive
        self.send: Callable[[bytes, Any], int] = self._send

    def _receive(self, most: int) -> tuple[bytes, Any]:
        data, ancillary, _, address = self._listener.recvmsg(most, _ANCILLARY)
        return data, _Asker(address, [_as_source(item) for item in ancillary])

    def _send(self, data: bytes, asker: _Asker) -> int:
        return self._listener.sendmsg([data], asker.ancillary, 0, asker.address)


def _as_source(item: Ancillary) -> Ancillary:
    """The address where a datagram arrived, as the one to answer from, by any interface."""
    level, kind, info = item
    if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
        return level, kind, _NO_INTERFACE + info[8:12] + bytes(4)
    return level, kind, info[:16] + _NO_INTERFACE
