"""What is near in a network namespace: its own addresses and its container networks.

Read from rtnetlink. A container network is a connected route (``proto kernel``, ``scope link``)
on a bridge whose ports are all veth, by what the links are and never by what they are called. A
bridge that leads out of this machine is none, whatever its ports are: it carries a default route
(where the uplink itself is a veth), or a pair of veth joins it to one that has the uplink.
Anybody who may use Docker makes such a network of any addresses, those of the machine's own uplink
among them. So a network is near only as far as no other route takes its addresses elsewhere.
"""

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

_RTMGRP_LINK: Final = 1
_RTMGRP_IPV4_IFADDR: Final = 0x10
_RTMGRP_IPV4_ROUTE: Final = 0x40
_RTMGRP_IPV6_IFADDR: Final = 0x100
_RTMGRP_IPV6_ROUTE: Final = 0x400
_GROUPS: Final = (
    _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_IFADDR
) | _RTMGRP_IPV6_ROUTE

_PROTO_KERNEL: Final = 2
_RT_TABLE_MAIN: Final = 254
_RTN_UNICAST: Final = 1
_IPV6_LINK_LOCAL: Final = ipaddress.IPv6Network("fe80::/10")

_ENDING_HERE: Final = ("veth", "tun", "dummy")
"""Kinds of ports behind which are namespaces and programs (virtual machines) of this machine."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_N = TypeVar("_N", ipaddress.IPv4Network, ipaddress.IPv6Network)


@dataclass(frozen=True, slots=True)
class Near:
    """Addresses of the namespace itself and networks of its containers, as text.

    Attributes:
        networks: container networks, each with the interface index of its bridge.
        outward: bridges that lead out of this machine, by name, each with its way out in words.
    """

    addresses: frozenset[str] = frozenset()
    networks: frozenset[tuple[str, int]] = frozenset()
    outward: frozenset[tuple[str, str]] = frozenset()

    @property
    def containers4(self) -> frozenset[str]:
        """Container networks of IPv4."""
        return frozenset(network for network, _ in self.networks if ":" not in network)

    @property
    def containers6(self) -> frozenset[str]:
        """Container networks of IPv6."""
        return frozenset(network for network, _ in self.networks if ":" in network)

    @property
    def bridges(self) -> frozenset[int]:
        """Interface indexes of the bridges that the container networks are on."""
        return frozenset(bridge for _, bridge in self.networks)


@dataclass(slots=True)
class Link:
    """One interface, as far as it matters here.

    Attributes:
        peer: interface index of the other end of a veth pair, where that is in this namespace.
    """

    kind: str | None
    master: int | None = None
    ports: list["Link"] = field(default_factory=list)
    name: str = ""
    peer: int | None = None

    def is_container_bridge(self) -> bool:
        """A bridge with no port that leads anywhere but into another namespace."""
        return self.kind == "bridge" and all(port.kind == "veth" for port in self.ports)

    def way_out(self) -> str | None:
        """Of a bridge: a port that is the machine's own interface, or leads by one (VLAN, bond)."""
        ports = (port for port in self.ports if port.kind not in _ENDING_HERE)
        return next((f"its port {port.name}" for port in ports), None)


class Changes:
    """Tells that addresses, links or routes changed; what changed is read anew, not believed."""

    def __init__(self) -> None:
        """Subscribe in the network namespace of the calling thread."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))
        self._socket.setblocking(False)

    def pending(self) -> bool:
        """Whether anything changed since the last call."""
        changed = False
        while True:
            try:
                self._socket.recv(1 << 16)
            except BlockingIOError:
                return changed
            except OSError:
                # ENOBUFS: notifications were lost, which is a change as well.
                changed = True
            changed = True

    def close(self) -> None:
        """Unsubscribe."""
        self._socket.close()


def read_near() -> Near:
    """Read what is near in the network namespace of the calling thread."""
    from pyroute2 import IPRoute

    with IPRoute() as rtnetlink:
        links = _links(rtnetlink.get_links())
        addresses = frozenset(
            address for message in rtnetlink.get_addr() if (address := _address(message))
        )
        routes = list(rtnetlink.get_routes())
    outward = ways_out(routes, links)
    inside = {index: link for index, link in links.items() if index not in outward}
    return Near(
        addresses=addresses,
        networks=frozenset(container_networks(routes, inside)),
        outward=frozenset((links[index].name, why) for index, why in outward.items()),
    )


def _links(messages: Iterable[Any]) -> dict[int, Link]:
    links: dict[int, Link] = {}
    for message in messages:
        info = message.get_attr("IFLA_LINKINFO")
        kind = info.get_attr("IFLA_INFO_KIND") if info is not None else None
        # A veth's link is its peer; that of another namespace is known by that one's number.
        here = kind == "veth" and message.get_attr("IFLA_LINK_NETNSID") is None
        links[message["index"]] = Link(
            kind,
            message.get_attr("IFLA_MASTER"),
            name=message.get_attr("IFLA_IFNAME") or "",
            peer=message.get_attr("IFLA_LINK") if here else None,
        )
    for link in links.values():
        if link.master in links:
            links[link.master].ports.append(link)
    return links


def _address(message: Any) -> str | None:
    # On a point-to-point link IFA_ADDRESS is the peer, IFA_LOCAL is ours.
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return address if isinstance(address, str) else None


def ways_out(routes: Iterable[Any], links: Mapping[int, Link]) -> dict[int, str]:
    """Bridges that lead out of this machine, by interface index, and each one's way out."""
    bridges = {index: link for index, link in links.items() if link.kind == "bridge"}
    out = dict.fromkeys(_defaults(routes) & bridges.keys(), "a default route")
    out |= {index: why for index, link in bridges.items() if (why := link.way_out())}
    joined = {-1: ""}
    while joined:  # a chain of bridges takes a turn for each
        joined = {
            index: f"its port {port.name}"
            for index, link in bridges.items()
            for port in link.ports
            if index not in out and (peer := links.get(port.peer or 0)) and peer.master in out
        }
        out |= joined
    return out


def _defaults(routes: Iterable[Any]) -> set[int]:
    """Interfaces of default routes, in whatever table."""
    found = set[int]()
    for route in routes:
        if route["type"] == _RTN_UNICAST and not route["dst_len"]:
            hops = route.get_attr("RTA_MULTIPATH") or ()
            found |= {route.get_attr("RTA_OIF") or 0, *(hop["oif"] for hop in hops)}
    return found


def container_networks(routes: Sequence[Any], links: Mapping[int, Link]) -> set[tuple[str, int]]:
    """Each network with the interface index of its bridge, without what is routed elsewhere."""
    bridged: list[_Way] = []
    elsewhere: list[_Way] = []
    for route in routes:
        index = route.get_attr("RTA_OIF") or 0
        link = links.get(index)
        way = _way(route, index)
        if way is None:
            continue
        if link is None or not link.is_container_bridge():
            elsewhere.append(way)
        elif _connected(route):
            bridged.append(way)
    return {(str(part), way.interface) for way in bridged for part in _left(way, elsewhere)}


class _Way(NamedTuple):
    """Where a route leads, and by which interface."""

    network: _Network
    interface: int
    metric: int


def _way(route: Any, index: int) -> _Way | None:
    """None for what no packet leaves by, and for defaults, which yield to every network."""
    to = route.get_attr("RTA_DST")
    if route["type"] != _RTN_UNICAST or not route["dst_len"] or to is None:
        return None
    network = ipaddress.ip_network(f"{to}/{route['dst_len']}", strict=False)
    if network.is_multicast or (network.version == 6 and network.subnet_of(_IPV6_LINK_LOCAL)):
        return None
    return _Way(network, index, route.get_attr("RTA_PRIORITY") or 0)


def _left(way: _Way, elsewhere: Iterable[_Way]) -> list[_Network]:
    """What of a bridge's network no other route takes: a longer one, or no worse an equal one."""
    left = [way.network]
    for other in elsewhere:
        longer = other.network.prefixlen > way.network.prefixlen
        if longer or (other.network == way.network and other.metric <= way.metric):
            left = [part for whole in left for part in _without(whole, other.network)]
    return left


def _without(whole: _Network, taken: _Network) -> Iterable[_Network]:
    if isinstance(whole, ipaddress.IPv4Network) and isinstance(taken, ipaddress.IPv4Network):
        return _difference(whole, taken)
    if isinstance(whole, ipaddress.IPv6Network) and isinstance(taken, ipaddress.IPv6Network):
        return _difference(whole, taken)
    return (whole,)


def _difference(whole: _N, taken: _N) -> Iterable[_N]:
    if not whole.overlaps(taken):
        return (whole,)
    return () if whole.subnet_of(taken) else whole.address_exclude(taken)


def _connected(route: Any) -> bool:
    return (
        route["proto"] == _PROTO_KERNEL
        and route.get_attr("RTA_TABLE") == _RT_TABLE_MAIN
        and route.get_attr("RTA_GATEWAY") is None
    )
