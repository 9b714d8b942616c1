"""Packets made by hand: what a raw socket sends is judged like everything else."""

import contextlib
import socket
import struct

import pytest

from ramnet.kernel.enforcer import Enforcer
from tests.kernel.conftest import FAR4, FAR6, VM4, Wire
from tests.lab.host import Host

Hosts = tuple[Host, Host]


def _udp(sport: int, dport: int, data: bytes) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def _ipv6(next_header: int, body: bytes) -> bytes:
    own, far = (socket.inet_pton(socket.AF_INET6, a) for a in ("2001:db8:1::2", FAR6))
    return struct.pack("!IHBB", 6 << 28, len(body), next_header, 64) + own + far + body


_PADDING = bytes([1, 4, 0, 0, 0, 0])
_FRAGMENT_ID = struct.pack("!I", 77)


@pytest.mark.parametrize(
    "packet",
    [
        _ipv6(0, bytes([17, 0]) + _PADDING + _udp(1, 53, b"secret")),
        _ipv6(60, bytes([17, 0]) + _PADDING + _udp(1, 443, b"secret")),
        _ipv6(43, bytes([17, 2, 4, 0, 0, 0, 0, 0]) + bytes(16) + _udp(1, 443, b"secret")),
        _ipv6(44, bytes([17, 0, 0, 1]) + _FRAGMENT_ID + _udp(1, 53, b"x" * 16)),
        _ipv6(44, bytes([17, 0, 0, 8 | 1]) + _FRAGMENT_ID + b"secret" * 4),
        _ipv6(44, bytes([17, 0, 0, 0]) + _FRAGMENT_ID + _udp(1, 40000, b"secret")),
        _ipv6(59, b"secret"),
        _ipv6(253, b"secret"),
        _ipv6(1, bytes([3, 1, 0, 0]) + bytes(28)),
        _ipv6(17, _udp(68, 67, b"secret")),
        _ipv6(2, b"secret" * 2),
    ],
    ids=["hop-by-hop", "destination options", "routing header", "first fragment",
         "later fragment", "atomic fragment", "no next header", "experimental",
         "icmp of ipv4", "dhcp of ipv4", "igmp"],
)  # fmt: skip
def test_raw_ipv6(hosts: Hosts, wire: Wire, enforcer: Enforcer, packet: bytes) -> None:
    with hosts[0].socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(packet, (FAR6, 0))
        assert wire.sent()  # it would have left
        enforcer.install()
        with contextlib.suppress(OSError):
            sock.sendto(packet, (FAR6, 0))
    assert wire.sent() == []


def _ipv4(protocol: int, body: bytes, offset: int = 0, options: bytes = b"") -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, 20 + len(options) + len(body), 77, offset,
        64, protocol, 0, socket.inet_aton(VM4), socket.inet_aton(FAR4),
    )  # fmt: skip
    return head + options + body


_MORE = 0x2000
_IP_NODEFRAG = 22


@pytest.mark.parametrize(
    "packet",
    [
        _ipv4(17, _udp(1, 53, b"x" * 16), _MORE),
        _ipv4(17, b"secret" * 4, 1),
        _ipv4(17, _udp(1, 443, b"secret"), options=bytes([7, 7, 4, 0, 0, 0, 0, 0])),
        _ipv4(58, bytes([135, 0, 0, 0]) + bytes(20)),
        _ipv4(17, _udp(546, 547, b"secret")),
        _ipv4(6, struct.pack("!HHIIBBHHH", 22, 443, 1, 1, 0x50, 0x12, 512, 0, 0)),
        _ipv4(6, struct.pack("!HHIIBBHHH", 40000, 443, 1, 1, 0x50, 0x10, 512, 0, 0) + b"secret"),
    ],
    ids=["first fragment", "later fragment", "record route",
         "icmpv6 in ipv4", "dhcpv6 in ipv4", "SYN-ACK", "ACK with data"],
)  # fmt: skip
@pytest.mark.parametrize("nodefrag", [False, True])
def test_raw_ipv4(
    hosts: Hosts, wire: Wire, enforcer: Enforcer, packet: bytes, nodefrag: bool
) -> None:
    with hosts[0].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.setsockopt(socket.SOL_IP, _IP_NODEFRAG, int(nodefrag))
        sock.sendto(packet, (FAR4, 0))
        assert wire.sent()  # it would have left
        enforcer.install()
        with contextlib.suppress(OSError):
            sock.sendto(packet, (FAR4, 0))
    assert wire.sent() == []


@pytest.mark.parametrize("protocol", [*range(1, 256, 7), 6, 17, 132, 136])
def test_nothing_for_a_refused_name_leaves(
    hosts: Hosts, wire: Wire, installed: Enforcer, protocol: int
) -> None:
    for family, to in ((socket.AF_INET, "240.0.0.1"), (socket.AF_INET6, "100::1")):
        sock = hosts[0].socket(family, socket.SOCK_RAW, protocol)
        with sock, contextlib.suppress(OSError):
            sock.sendto(bytes(40), (to, 0))
    assert wire.sent() == []
