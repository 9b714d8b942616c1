"""What leaves a scope: read from packet sockets, below every rule.

Frames are read from the network header on (packet(7), SOCK_DGRAM), so that a link without a
hardware header is no different. Between two probes a marker goes down the same wire: when it is
here, so is everything that was sent before it, and a capture that does not see it is blind.
"""

import ipaddress
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Final

from ramnet.kernel.netns import Namespace

_ETH_P_ALL: Final = 3
_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_ETH_P_MARKER: Final = 0x88B5
"""IEEE's for local experiments."""
_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 64 << 20
_READ: Final = 1 << 17
_PATIENCE: Final = 3.0
_NEIGHBOURS: Final = {*range(130, 137), 143}
_EXTENSIONS: Final = {0, 43, 60}
_FRAGMENT: Final = 44
_SYN: Final = 2


class Packet:
    """One packet that left, from its IP header on."""

    def __init__(self, data: bytes) -> None:
        """``data`` is never trusted to be whole."""
        self.data = data
        ipv6 = data[:1] and data[0] >> 4 == 6
        addresses = (data[8:24], data[24:40]) if ipv6 else (data[12:16], data[16:20])
        self.source, self.destination = map(_address, addresses)
        self.protocol, self.at = _walk6(data) if ipv6 else _walk4(data)
        self.ipv6 = bool(ipv6)

    @cached_property
    def ports(self) -> tuple[int, int]:
        """Of TCP and UDP; (0, 0) elsewhere."""
        if self.protocol not in (6, 17) or len(self.data) < self.at + 4:
            return 0, 0
        source, destination = struct.unpack_from("!HH", self.data, self.at)
        return source, destination

    @property
    def icmp_type(self) -> int | None:
        """Of ICMP and ICMPv6."""
        icmp = self.protocol in (1, 58) and len(self.data) > self.at
        return self.data[self.at] if icmp else None

    def closes_tcp(self) -> bool:
        """A segment that opens nothing and carries nothing."""
        if self.protocol != 6 or len(self.data) < self.at + 20:
            return False
        length = int.from_bytes(self.data[4:6], "big") + 40 if self.ipv6 else 0
        whole = length or int.from_bytes(self.data[2:4], "big")
        empty = self.at + (self.data[self.at + 12] >> 4) * 4 >= whole
        return empty and not self.data[self.at + 13] & _SYN

    def is_housekeeping(self) -> bool:
        """Neighbour discovery and listener reports, which every host sends."""
        return self.ipv6 and self.protocol == 58 and self.icmp_type in _NEIGHBOURS

    def __str__(self) -> str:
        """In one line, as scapy tells it."""
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6

        read: Any = IPv6 if self.ipv6 else IP
        return str(read(self.data).summary())


def _address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed)) if len(packed) in (4, 16) else ""


def _walk4(data: bytes) -> tuple[int, int]:
    return (data[9] if len(data) > 9 else -1), (data[0] & 15) * 4 if data else 0


def _walk6(data: bytes) -> tuple[int, int]:
    if len(data) < 40:
        return -1, len(data)
    protocol, at = data[6], 40
    while (protocol in _EXTENSIONS or protocol == _FRAGMENT) and len(data) >= at + 8:
        size = 8 if protocol == _FRAGMENT else (data[at + 1] + 1) * 8
        protocol, at = data[at], at + size
    return protocol, at


class Capture:
    """Reads in ``where``; ``seen`` gives what has come since the last time."""

    def __init__(
        self,
        where: Namespace,
        devices: Iterable[str],
        sender: Namespace,
        sender_devices: Iterable[str],
        *,
        outgoing: bool,
    ) -> None:
        """``outgoing``: of what leaves by these devices; else of what arrives there."""
        self._outgoing = outgoing
        self._where = [where.call(_reader, device) for device in devices]
        self._senders = [sender.call(_writer, device) for device in sender_devices]
        self._number = 0

    def seen(self, wanted: Callable[[Packet], bool] = lambda _: True) -> list[Packet] | None:
        """What was sent before this call and is wanted; None where the marker is not seen."""
        packets: list[Packet] = []
        for reader, sender in zip(self._where, self._senders, strict=True):
            marks = self._mark(sender)
            deadline = time.monotonic() + _PATIENCE
            while marks:
                # A machine that never stops sending must not keep us here without the marker.
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                reader.settimeout(left)
                try:
                    data, address = reader.recvfrom(_READ)
                except TimeoutError:
                    return None
                if address[1] == _ETH_P_MARKER:
                    marks.discard(data[:16])
                elif (packet := self._packet(data, address)) is not None and wanted(packet):
                    packets.append(packet)
        return packets

    def _mark(self, sender: socket.socket) -> set[bytes]:
        """One marker from each CPU where a veth is between, which has a queue for each."""
        marks = set()
        before = os.sched_getaffinity(0)
        cpus = [min(before)] if self._outgoing else before
        try:
            for cpu in cpus:
                os.sched_setaffinity(0, {cpu})
                self._number += 1
                mark = struct.pack("!IIQ", os.getpid(), cpu, self._number)
                sender.send(mark)
                marks.add(mark)
        finally:
            os.sched_setaffinity(0, before)
        return marks

    def _packet(self, data: bytes, address: Any) -> Packet | None:
        _, kind, direction, *_ = address
        if (direction == socket.PACKET_OUTGOING) is not self._outgoing:
            return None
        return Packet(data) if kind in (_ETH_P_IP, _ETH_P_IPV6) else None

    def close(self) -> None:
        """Stop reading."""
        for sock in (*self._where, *self._senders):
            sock.close()


def _reader(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    sock.bind((device, _ETH_P_ALL))
    return sock


def _writer(device: str) -> socket.socket:
    """To nobody's hardware address, of no protocol that anybody speaks."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    sock.bind((device, 0))
    length = len(sock.getsockname()[4])
    return _Marker(sock, (device, _ETH_P_MARKER, 0, 0, bytes(length)))


class _Marker(socket.socket):
    """A packet socket that sends to one address."""

    def __init__(self, sock: socket.socket, to: tuple[str, int, int, int, bytes]) -> None:
        super().__init__(fileno=sock.detach())
        self._to = to

    def send(self, data: Any, flags: int = 0) -> int:
        """As a datagram to the address."""
        return self.sendto(data, flags, self._to)
