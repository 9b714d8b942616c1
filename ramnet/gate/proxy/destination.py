"""Where a redirected connection was meant to go, and whether that is near."""

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from ramnet.gate.spec import Surroundings

# linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h; level IPPROTO_IP and IPPROTO_IPV6
_SO_ORIGINAL_DST: Final = 80
_IP_BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h
_SO_BINDTOIFINDEX: Final = 62  # asm-generic/socket.h
_SOCKADDR_IN: Final = struct.Struct("!2xH4s8x")
_SOCKADDR_IN6: Final = struct.Struct("!2xH4x16s4x")

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Destination(NamedTuple):
    """An address without a zone, and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else ":".join(map(str, self))


OriginalDestination = Callable[[socket.socket], Destination | None]


def original_destination(sock: socket.socket) -> Destination | None:
    """What the client dialled before the kernel redirected it; None where it did not."""
    try:
        if sock.family == socket.AF_INET6:
            raw = sock.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, _SOCKADDR_IN6.size)
            port, packed = _SOCKADDR_IN6.unpack(raw)
            return Destination(socket.inet_ntop(socket.AF_INET6, packed), port)
        raw = sock.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, _SOCKADDR_IN.size)
        port, packed = _SOCKADDR_IN.unpack(raw)
        return Destination(socket.inet_ntoa(packed), port)
    except OSError:
        return None


def own_address(sock: socket.socket) -> Destination | None:
    """What the client dialled, where the listener answers for any address (tier anyip)."""
    try:
        address, port = sock.getsockname()[:2]
    except OSError:
        return None
    return Destination(address.partition("%")[0], port)


def plain(address: str) -> str:
    """``address`` without a zone, an IPv4-mapped one as IPv4, in the canonical spelling."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


class Admitted:
    """Which addresses are in some networks."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(map(ipaddress.ip_network, networks))
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        """``address``: as the kernel writes it."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) > _KNOWN_MOST:
                self._known.clear()
            ip = ipaddress.ip_address(plain(address))
            known = any(ip.version == net.version and ip in net for net in self._networks)
            self._known[address] = known
        return known


class Nearness:
    """Which destinations are near: loopback, own addresses, container networks."""

    def __init__(self, sinkholes: Iterable[str | None]) -> None:
        self._sinkholes = frozenset(filter(None, sinkholes))
        self._addresses: frozenset[str] = frozenset()
        self._networks: tuple[tuple[IpNetwork, int], ...] = ()
        self._gate_ports: frozenset[int] = frozenset()
        self._known: dict[str, bool] = {}

    def update(self, surroundings: Surroundings) -> None:
        """Take over the machine as it stands now."""
        self._addresses = frozenset(map(plain, surroundings.addresses))
        networks = ((ipaddress.ip_network(n), by) for n, by in surroundings.networks.items())
        self._networks = tuple(sorted(networks, key=lambda pair: -pair[0].prefixlen))
        self._gate_ports = frozenset(surroundings.gate_ports)
        self._known = {}

    def contains(self, address: str) -> bool:
        """Whether ``address`` is near. The sinkhole never is."""
        near = self._known.get(address)
        if near is None:
            if len(self._known) > _KNOWN_MOST:
                self._known.clear()
            near = self._known[address] = self._look_up(plain(address))
        return near

    def is_sinkhole(self, address: str) -> bool:
        """Whether it is what refused names resolve to: an address of nobody."""
        return address in self._sinkholes

    def keep_near(self, sock: socket.socket, address: str) -> None:
        """Let ``sock`` reach ``address``, which is near, here alone: never by the uplink.

        What was near a moment ago (the network was removed, an address is another's now) would be
        dialled there without its name being asked, and so would be what is sent once more later.
        Raises OSError where it is near no more.
        """
        address = plain(address)
        ip = ipaddress.ip_address(address)
        if address in self._addresses:
            if not ip.is_loopback and not ip.is_link_local:
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((address, 0))
        elif (bridge := self._bridge_to(ip)) is not None:
            with contextlib.suppress(PermissionError):  # without privilege since Linux 5.7
                sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, bridge)

    def _bridge_to(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int | None:
        ways = (by for net, by in self._networks if ip.version == net.version and ip in net)
        return next(ways, None)

    def is_gate(self, destination: Destination) -> bool:
        """Whether this is a listener of the gate's own: never to be dialled."""
        if destination.port not in self._gate_ports:
            return False
        address = plain(destination.address)
        return address in self._addresses or _is_local(ipaddress.ip_address(address))

    def _look_up(self, address: str) -> bool:
        ip = ipaddress.ip_address(address)
        if address in self._sinkholes:
            return False
        return _is_local(ip) or address in self._addresses or self._bridge_to(ip) is not None


_KNOWN_MOST = 4096


def _is_local(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    # To connect to the unspecified address is to connect to oneself.
    return ip.is_loopback or ip.is_unspecified
