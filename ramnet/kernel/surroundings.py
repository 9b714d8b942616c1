"""What is near in a network namespace: its own addresses and its container networks.

Read from rtnetlink. A container network is a connected route (``proto kernel``, ``scope link``)
on a bridge whose ports are all veth, by what the links are and never by what they are called.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

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
_IPV6_LINK_LOCAL: Final = ipaddress.IPv6Network("fe80::/10")


@dataclass(frozen=True, slots=True)
class Near:
    """Addresses of the namespace itself and networks of its containers, as text.

    Attributes:
        bridges: interface indexes of the bridges that the container networks are on.
    """

    addresses: frozenset[str] = frozenset()
    containers4: frozenset[str] = frozenset()
    containers6: frozenset[str] = frozenset()
    bridges: frozenset[int] = frozenset()


@dataclass(slots=True)
class Link:
    """One interface, as far as it matters here."""

    kind: str | None
    master: int | None = None
    ports: list["Link"] = field(default_factory=list)

    def is_container_bridge(self) -> bool:
        """A bridge with no port that leads anywhere but into another namespace."""
        return self.kind == "bridge" and all(port.kind == "veth" for port in self.ports)


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
        networks = _container_networks(rtnetlink.get_routes(), links)
    return Near(
        addresses=addresses,
        containers4=frozenset(network for network, _ in networks if ":" not in network),
        containers6=frozenset(network for network, _ in networks if ":" in network),
        bridges=frozenset(bridge for _, bridge in networks),
    )


def _links(messages: Iterable[Any]) -> dict[int, Link]:
    links: dict[int, Link] = {}
    for message in messages:
        info = message.get_attr("IFLA_LINKINFO")
        kind = info.get_attr("IFLA_INFO_KIND") if info is not None else None
        links[message["index"]] = Link(kind, message.get_attr("IFLA_MASTER"))
    for link in links.values():
        if link.master in links:
            links[link.master].ports.append(link)
    return links


def _address(message: Any) -> str | None:
    # On a point-to-point link IFA_ADDRESS is the peer, IFA_LOCAL is ours.
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return address if isinstance(address, str) else None


def _container_networks(routes: Iterable[Any], links: Mapping[int, Link]) -> set[tuple[str, int]]:
    """Each network with the interface index of its bridge."""
    networks: set[tuple[str, int]] = set()
    for route in routes:
        index = route.get_attr("RTA_OIF") or 0
        link = links.get(index)
        if link is None or not link.is_container_bridge() or not _connected(route):
            continue
        with contextlib.suppress(ValueError):
            network = ipaddress.ip_network(f"{route.get_attr('RTA_DST')}/{route['dst_len']}")
            if network.version == 4 or not network.subnet_of(_IPV6_LINK_LOCAL):
                networks.add((str(network), index))
    return networks


def _connected(route: Any) -> bool:
    return (
        route["proto"] == _PROTO_KERNEL
        and route.get_attr("RTA_TABLE") == _RT_TABLE_MAIN
        and route.get_attr("RTA_GATEWAY") is None
        and route.get_attr("RTA_DST") is not None
        and route["dst_len"] > 0
        and not ipaddress.ip_address(route.get_attr("RTA_DST")).is_multicast
    )
