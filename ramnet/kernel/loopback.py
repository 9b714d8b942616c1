"""Keeps what the rules redirect to the gate's listeners on 127.0.0.1 inside the machine.

In mirrored networking mode WSL 2 routes TCP and UDP for 127.0.0.1, and for own addresses, out to
Windows, which may hand it back (``ip rule``: table ``local`` behind tables 127 and 128; WSL's
NetworkManager.cpp). What is redirected to the gate would go the same way, and the last guard of
the rules drops it. Where that is so, routing rules for the gate's own ports come before.
Everything here works on the network namespace of the calling thread.
"""

import socket
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from pyroute2 import IPRoute, NetlinkError

from ramnet.errors import KernelRefusedError
from ramnet.kernel.routes import ROUTE_PROTOCOL

_LOOPBACK: Final = "127.0.0.1"
_PRIORITY: Final = 0
"""Where WSL has its own for what comes from Windows; ours come behind them and before the rest."""
_RT_TABLE_LOCAL: Final = 255
_DNS: Final = 53
_EEXIST: Final = 17
_CONDITIONS: Final = (
    *("FRA_DST", "FRA_SRC", "FRA_OIFNAME", "FRA_FWMARK", "FRA_UID_RANGE"),
    *("FRA_IP_PROTO", "FRA_DPORT_RANGE", "FRA_SPORT_RANGE"),
)


class _Way(NamedTuple):
    """To a listener of the gate's, or back from it."""

    protocol: int
    port: int
    back: bool


def keep(udp: int, tcp: Iterable[int]) -> list[str]:
    """Have the rules where they are needed; says what was done.

    ``udp`` and ``tcp`` are the ports of the gate's listeners.

    Raises:
        KernelRefusedError: the kernel does not take them (ports in routing rules: Linux 4.17).
    """
    with IPRoute() as rtnetlink:
        rules = _rules(rtnetlink)
        missing = set(_ways(udp, tcp)) - set(map(_way, rules))
        if not missing or not _may_lead_away(rules):
            return []
        for way in sorted(missing):
            _add(rtnetlink, way)
    return [f"the routing rules lead {_LOOPBACK} away: rules for the gate's own ports were set"]


def stays(udp: int, tcp: Iterable[int]) -> bool:
    """Whether packets for the gate's listeners reach them."""
    with IPRoute() as rtnetlink:
        rules = _rules(rtnetlink)
    return not _may_lead_away(rules) or set(_ways(udp, tcp)) <= set(map(_way, rules))


def release() -> None:
    """Take our rules away, and nothing else."""
    with IPRoute() as rtnetlink:
        for way in filter(None, map(_way, _rules(rtnetlink))):
            rtnetlink.rule("del", **_named(way))


def _rules(rtnetlink: IPRoute) -> list[Any]:
    """In the order in which the kernel asks them."""
    return list(rtnetlink.get_rules(family=socket.AF_INET))


def _ways(udp: int, tcp: Iterable[int]) -> Iterator[_Way]:
    for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
        yield _Way(protocol, _DNS, back=False)
    listened = [(socket.IPPROTO_TCP, port) for port in tcp]
    for protocol, port in ((socket.IPPROTO_UDP, udp), *listened):
        yield _Way(protocol, port, back=False)
        yield _Way(protocol, port, back=True)


def _may_lead_away(rules: Iterable[Any]) -> bool:
    """Whether any rule for what is sent here comes before the table of local addresses."""
    for rule in rules:
        arrived = rule.get_attr("FRA_IIFNAME") not in (None, "lo")
        if arrived or _way(rule) is not None:
            continue
        table = rule.get_attr("FRA_TABLE") or rule["table"]
        return table != _RT_TABLE_LOCAL or any(map(rule.get_attr, _CONDITIONS))
    return True


def _way(rule: Any) -> _Way | None:
    """What a rule of ours is for; None for anybody else's."""
    if rule.get_attr("FRA_PROTOCOL") != ROUTE_PROTOCOL or rule.get_attr("FRA_PRIORITY"):
        return None
    for attribute, back in (("FRA_DPORT_RANGE", False), ("FRA_SPORT_RANGE", True)):
        if found := rule.get_attr(attribute):
            return _Way(rule.get_attr("FRA_IP_PROTO"), _first_port(found), back)
    return None


def _first_port(found: Any) -> int:
    """Of a range, which pyroute2 gives as text or as a mapping, by its version."""
    return int(found["start"] if isinstance(found, dict) else str(found).split(":")[0])


def _named(way: _Way) -> dict[str, Any]:
    end, port = ("src", "sport_range") if way.back else ("dst", "dport_range")
    return {
        "family": socket.AF_INET,
        "table": _RT_TABLE_LOCAL,
        "priority": _PRIORITY,
        "protocol": ROUTE_PROTOCOL,
        "iifname": "lo",
        "ip_proto": way.protocol,
        end: _LOOPBACK,
        f"{end}_len": 32,
        port: f"{way.port}:{way.port}",
    }


def _add(rtnetlink: IPRoute, way: _Way) -> None:
    try:
        rtnetlink.rule("add", **_named(way))
    except NetlinkError as error:
        if error.code != _EEXIST:
            raise KernelRefusedError(f"cannot keep {_LOOPBACK} here: {error.args[-1]}") from None
