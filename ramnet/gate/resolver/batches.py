"""Many datagrams with two system calls, recvmmsg(2) and sendmmsg(2), which Python has not.

Questions arrive in slots of one buffer. An answer that is known takes the place of its question
there, behind the id, and goes back to the address that stands beside it: no address is read and no
object made but the octets that are looked up.
"""

import ctypes
import mmap
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

from ramnet.audit import Verdict

BATCH: Final = 64
"""Datagrams answered before other work gets its turn."""
_RECEIVE: Final = 2048
"""Octets of a query; what is longer is cut off and so found malformed."""
_SLOT: Final = 4096
"""A reply is no longer than this (``desk.DATAGRAM_MOST``)."""
_NAMES: Final = {socket.AF_INET: 16, socket.AF_INET6: 28}
"""Octets of a socket address (sockaddr_in, sockaddr_in6)."""

_NOW: Final = socket.MSG_DONTWAIT

Found = tuple[float, bytes, Verdict]


class _Piece(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr of recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("pieces", ctypes.c_void_p),
        ("pieces_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr of recvmmsg(2)."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


_WORDS: Final = ctypes.sizeof(_Message) // 4
_LENGTH: Final = _Message.length.offset // 4


class _Side:
    """The headers of one direction; both directions share slots and addresses."""

    def __init__(self, slots: int, names: int, name_length: int, most: int) -> None:
        self.pieces = (_Piece * BATCH)()
        self.messages = (_Message * BATCH)()
        at = ctypes.addressof(self.pieces)
        for number in range(BATCH):
            piece, header = self.pieces[number], self.messages[number].header
            piece.base, piece.length = slots + number * _SLOT, most
            header.name, header.name_length = names + number * name_length, name_length
            header.pieces, header.pieces_length = at + number * ctypes.sizeof(_Piece), 1
        self.address = ctypes.addressof(self.messages)


class Batches:
    """One UDP socket that is bound to an address, so that nothing but the peer's is needed."""

    def __init__(self, listener: socket.socket) -> None:
        """Raises OSError, AttributeError or KeyError where the system cannot do it."""
        library = ctypes.CDLL(None)
        self._receive, self._send = library.recvmmsg, library.sendmmsg
        message = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._receive.argtypes, self._send.argtypes = (*message, ctypes.c_void_p), message
        self._family, self._descriptor = listener.family, listener.fileno()
        self._name = _NAMES[self._family]
        # Memory of its own has no page before a datagram came into it; the arrays of ctypes keep
        # it where it is.
        self._slots = mmap.mmap(-1, BATCH * _SLOT, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._names = bytearray(BATCH * self._name)
        self._pins: tuple[Any, ...] = tuple(
            (ctypes.c_char * len(held)).from_buffer(held) for held in (self._slots, self._names)
        )
        slots, names = map(ctypes.addressof, self._pins)
        self._in = _Side(slots, names, self._name, _RECEIVE)
        self._out = _Side(slots, names, self._name, 0)
        self._came = memoryview(self._in.messages).cast("B").cast("I")[_LENGTH::_WORDS]
        self._goes = memoryview(self._out.pieces).cast("B").cast("L")[1::2]

    def answer(
        self, ready: Callable[[bytes], Found | None], now: float, counts: dict[Verdict, int]
    ) -> tuple[int, int, list[tuple[bytes, Any]]]:
        """Answer what is there and known: how many, how many of these replies the kernel did not
        take, and the other messages with their senders.

        Args:
            ready: the reply for a message, both without their id.
            now: seconds of the clock by which replies go stale.
            counts: by verdict, one more for each answer.
        """
        came: int = self._receive(self._descriptor, self._in.address, BATCH, _NOW, None)
        slots, goes, begins, unsent = self._slots, self._goes, 0, 0
        others: list[tuple[bytes, Any]] = []
        octets = memoryview(slots)
        for number in range(came):  # -1: nothing there, or an ICMP error of an earlier reply
            start = number * _SLOT
            end = start + self._came[number]
            found = ready(bytes(octets[start + 2 : end]))
            if found is None or found[0] <= now:
                unsent += self._reply(begins, number)
                begins = number + 1
                others.append((bytes(octets[start:end]), self._sender(number)))
                continue
            _, reply, verdict = found
            counts[verdict] += 1
            goes[number] = length = len(reply) + 2
            slots[start + 2 : start + length] = reply
        unsent += self._reply(begins, came)
        return max(came, 0) - len(others), unsent, others

    def _reply(self, first: int, end: int) -> int:
        """Send the slots from ``first`` to before ``end``; how many were not taken."""
        unsent = 0
        while first < end:
            at = self._out.address + first * ctypes.sizeof(_Message)
            sent: int = self._send(self._descriptor, at, end - first, _NOW)
            if sent < 1:  # the first one was not taken; the others may be
                unsent += 1
            first += max(sent, 1)
        return unsent

    def _sender(self, number: int) -> Any:
        """As the socket module has addresses (sockaddr_in, sockaddr_in6)."""
        name = bytes(self._names[number * self._name : (number + 1) * self._name])
        port = int.from_bytes(name[2:4], "big")
        if self._family == socket.AF_INET:
            return socket.inet_ntoa(name[4:8]), port
        flow, scope = int.from_bytes(name[4:8], "big"), int.from_bytes(name[24:28], sys.byteorder)
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port, flow, scope
