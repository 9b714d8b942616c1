"""Routes and routing rules of ours (ip-rule(8)): set, seen and taken away as a whole.

Everything works on the network namespace of the calling thread.
"""

import contextlib
import socket
from typing import Any, Final

from pyroute2 import IPRoute, NetlinkError

from ramnet.errors import KernelRefusedError
from ramnet.kernel.routes import ROUTE_PROTOCOL
from ramnet.ruleset import KernelState, PolicyRule, Route

_EEXIST: Final = 17
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_RTN_UNREACHABLE: Final = 7
_RT_TABLE_LOCAL: Final = 255


def set_routing(state: KernelState) -> None:
    """Have every route and rule of ``state``; what is there already stays.

    Raises:
        KernelRefusedError: one of them cannot be had.
    """
    with IPRoute() as rtnetlink:
        for route in state.routes:
            _add(lambda route=route: _route(rtnetlink, "add", route), str(route))
        for rule in state.rules:
            if not _has_rule(rtnetlink, rule):
                _add(lambda rule=rule: _rule(rtnetlink, "add", rule), str(rule))
            if rule.first and not _is_first(rtnetlink, rule):
                _put_local_behind(rtnetlink, _FAMILIES[rule.family])


def routing_stands(state: KernelState) -> bool:
    """Whether every route and rule of ``state`` is there."""
    return not missing_routing(state)


def missing_routing(state: KernelState) -> list[str]:
    """Which routes and rules of ``state`` are not there, in the words of ip(8)."""
    with IPRoute() as rtnetlink:
        rules = [
            str(rule)
            for rule in state.rules
            if not _has_rule(rtnetlink, rule) or (rule.first and not _is_first(rtnetlink, rule))
        ]
        routes = [str(route) for route in state.routes if not _has_route(rtnetlink, route)]
        return rules + routes


def remove_routing(state: KernelState) -> None:
    """Take away the routes and rules of ``state``, however often they are there."""
    with IPRoute() as rtnetlink:
        for rule in state.rules:
            with contextlib.suppress(NetlinkError):  # a family without policy routing
                while _has_rule(rtnetlink, rule):
                    _rule(rtnetlink, "del", rule)
        for route in state.routes:
            with contextlib.suppress(NetlinkError):
                if _has_route(rtnetlink, route):
                    _route(rtnetlink, "del", route)


def can_route(family: int, mark: int, table: int) -> bool:
    """Whether a rule for a mark and a table of its own can be had and is seen again.

    Both stay where they were made: call it in a scratch namespace.
    """
    rule = PolicyRule(4 if family == 4 else 6, mark, table, 1)
    route = Route(rule.family, table, None, 1)
    state = KernelState((), "", routes=(route,), rules=(rule,))
    try:
        set_routing(state)
        return routing_stands(state)
    except (KernelRefusedError, NetlinkError, OSError):
        return False


def _add(add: Any, what: str) -> None:
    try:
        add()
    except NetlinkError as error:
        if error.code != _EEXIST:
            raise KernelRefusedError(f"the kernel refused {what}: {error.args[-1]}") from None


def _route(rtnetlink: IPRoute, command: str, route: Route) -> None:
    arguments: dict[str, Any] = {
        "dst": "default",
        "family": _FAMILIES[route.family],
        "table": route.table,
        "priority": route.metric,
        "proto": ROUTE_PROTOCOL,
    }
    if route.device is None:
        arguments["type"] = "unreachable"
    else:
        arguments["oif"] = rtnetlink.link_lookup(ifname=route.device)[0]
    rtnetlink.route(command, **arguments)


def _rule(rtnetlink: IPRoute, command: str, rule: PolicyRule) -> None:
    rtnetlink.rule(
        command,
        family=_FAMILIES[rule.family],
        fwmark=rule.mark,
        table=rule.table,
        priority=rule.priority,
        **({"iifname": "lo"} if rule.first else {}),
    )


def _has_rule(rtnetlink: IPRoute, rule: PolicyRule) -> bool:
    return any(_matches(found, rule) for found in _all_rules(rtnetlink, rule))


def _is_first(rtnetlink: IPRoute, rule: PolicyRule) -> bool:
    """Whether the rule comes before the one that asks the table of local addresses."""
    for found in _all_rules(rtnetlink, rule):
        if _matches(found, rule):
            return True
        if _asks_local(found):
            return False
    return False


def _put_local_behind(rtnetlink: IPRoute, family: int) -> None:
    """Make the kernel's own rule the last of its priority; there is one at every moment."""
    local = {"family": family, "table": _RT_TABLE_LOCAL}
    _add(lambda: rtnetlink.rule("add", priority=1, **local), "a second rule for local addresses")
    rtnetlink.rule("del", priority=0, **local)
    rtnetlink.rule("add", priority=0, **local)
    rtnetlink.rule("del", priority=1, **local)


def _all_rules(rtnetlink: IPRoute, rule: PolicyRule) -> list[Any]:
    """Of the family, in the order in which the kernel asks them."""
    return list(rtnetlink.get_rules(family=_FAMILIES[rule.family]))


def _matches(found: Any, rule: PolicyRule) -> bool:
    names = ("FRA_FWMARK", "FRA_TABLE", "FRA_IIFNAME")
    wanted = (rule.mark, rule.table, "lo" if rule.first else None)
    priority = found.get_attr("FRA_PRIORITY") or 0  # the kernel leaves nought out
    return priority == rule.priority and tuple(map(found.get_attr, names)) == wanted


def _asks_local(found: Any) -> bool:
    """The kernel's own rule: no other rule for that table of this priority has no condition."""
    conditions = map(found.get_attr, ("FRA_IIFNAME", "FRA_IP_PROTO", "FRA_DST", "FRA_SRC"))
    local = found.get_attr("FRA_TABLE") == _RT_TABLE_LOCAL
    return local and not found.get_attr("FRA_PRIORITY") and not any(conditions)


def _has_route(rtnetlink: IPRoute, route: Route) -> bool:
    links = rtnetlink.link_lookup(ifname=route.device) if route.device else [None]
    found = rtnetlink.get_routes(family=_FAMILIES[route.family], table=route.table)
    return any(_is(one, route, links) for one in found)


def _is(found: Any, route: Route, links: list[int | None]) -> bool:
    if found.get_attr("RTA_PRIORITY") != route.metric or found["dst_len"]:
        return False
    if route.device is None:
        return bool(found["type"] == _RTN_UNREACHABLE)
    return found.get_attr("RTA_OIF") in links
