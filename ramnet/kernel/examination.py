"""What stands in a scope's namespace, beside what ought to; read by anybody, nothing is set.

The service is not asked: it may be stopped, or be what is at fault. What only it can know is read
from the rules that stand: its ports, and which connections were older than the table.
"""

import re
import socket
from dataclasses import replace
from typing import Final, NamedTuple

from ramnet import ruleset
from ramnet.config import Config, Scope
from ramnet.kernel import sysctl
from ramnet.kernel.enforcer import Enforcer
from ramnet.kernel.listeners import RESOLVER_PORT
from ramnet.kernel.netns import Namespace
from ramnet.kernel.nft import Nft
from ramnet.kernel.policy_routing import missing_routing
from ramnet.kernel.routes import ROUTE_PROTOCOL
from ramnet.kernel.watch import Watch
from ramnet.ruleset import SINKHOLE4, SINKHOLE6, KernelState
from ramnet.ruleset.hold import MARK_OF_HOLD

_FIRST: Final = ruleset.Ports(RESOLVER_PORT, RESOLVER_PORT + 1)
_REDIRECTS: Final = re.compile(r"(?:(udp|tcp) dport 53|meta l4proto tcp) redirect to :(\d+)")
_INTERCEPTED: Final = re.compile(r"tcp dport (\{[^}]*\}|\d+) meta mark set")
_OLD_UDP: Final = re.compile(r"^\s*udp sport (\{[^}]*\}|\d+) goto refuse", re.M)
_INTERFACE: Final = re.compile(r'\b(oif|iif) "([^"]+)"')
_BRIDGES: Final = re.compile(r"set bridges \{[^{}]*elements = \{[^{}]*")
_QUOTED: Final = re.compile(r'"([^"]+)"')
_NUMBER: Final = re.compile(r"\d+")


class Examination(NamedTuple):
    """One scope.

    Attributes:
        means: ``namespace``, ``cgroup2`` or ``net_cls``.
        lacks: capabilities that the kernel has not.
        planned: what ought to stand, from what is true now.
        standing: the listing of each planned table without what its sets hold; None where the
            table is not there.
        elements: the scope's table with what its sets hold; empty where it is not there.
        unrouted: routes, routing rules and sysctls that are not as planned, in words.
        held: ``ramnet hold`` refuses everything there, and no service has taken over.
        cover: what ought to stand for containers, and ``standing`` has; empty without a cover.
    """

    scope: Scope
    tier: ruleset.Tier
    means: str
    lacks: frozenset[str]
    planned: KernelState
    standing: dict[tuple[str, str], str | None]
    elements: str
    unrouted: list[str]
    held: bool
    cover: str = ""

    @property
    def in_force(self) -> bool:
        """Whether any rules of ours stand there."""
        return not self.held and any(text is not None for text in self.standing.values())


def examine(config: Config, scope: Scope) -> Examination:
    """Look at one scope.

    Raises:
        NamespaceAbsentError: its network namespace is not there.
        KernelRefusedError: privilege is missing, or the kernel has no tier.
    """
    enforcer = Enforcer(config, scope)
    try:
        namespace = enforcer.namespace
        nft = namespace.call(Nft)
        try:
            return _examine(enforcer, namespace, nft)
        finally:
            nft.close()
    finally:
        enforcer.close()


def _examine(enforcer: Enforcer, namespace: Namespace, nft: Nft) -> Examination:
    names = namespace.call(_interfaces)
    elements = _numbered(namespace.call(nft.listing, enforcer.table), names) or ""
    planned = _plan(enforcer, elements + _steering(namespace, nft))
    standing = {
        (family, name): _numbered(namespace.call(nft.chains, name, family), names)
        for family, name in planned.tables
    }
    cover = ""
    if enforcer.cover is not None:
        name = enforcer.cover.table
        listed = namespace.call(nft.chains, name)
        cover = enforcer.cover.plan(_ports_in(listed or "") or _FIRST)
        standing["inet", name] = _numbered(listed, names)
    unrouted = namespace.call(_unrouted, planned)
    description = enforcer.describe()
    return Examination(
        enforcer.scope, enforcer.tier, description["scoping"],
        frozenset(enforcer.capabilities.missing()), planned, standing, elements,
        unrouted, MARK_OF_HOLD in elements, cover,
    )  # fmt: skip


def _steering(namespace: Namespace, nft: Nft) -> str:
    """Tier anyip may have its first chain in tables of their own."""
    return "".join(
        namespace.call(nft.listing, ruleset.TABLE, family) or "" for family in ("ip", "ip6")
    )


def _plan(enforcer: Enforcer, standing: str) -> KernelState:
    """With the ports and the old connections that the standing rules tell."""
    ports = _ports_in(standing)
    intercepted = frozenset(
        int(port) for found in _INTERCEPTED.findall(standing) for port in _NUMBER.findall(found)
    )
    situation = enforcer.situation_with(ports=ports, intercepted=intercepted - {53})
    old = _OLD_UDP.findall(standing)
    if enforcer.tier is ruleset.Tier.ANYIP:
        udp = frozenset(int(port) for found in old for port in _NUMBER.findall(found))
        situation = replace(situation, old_udp=udp)
    return ruleset.plan_state(situation)


def _ports_in(standing: str) -> ruleset.Ports | None:
    found = {bool(dns): int(port) for dns, port in _REDIRECTS.findall(standing)}
    resolver, proxy = found.get(True), found.get(False)
    if resolver is None and proxy is None:
        return None
    first = resolver if resolver is not None else (proxy or 0) - 1
    return ruleset.Ports(first, first + 1)


def _interfaces() -> dict[str, int]:
    return {name: index for index, name in socket.if_nameindex()}


def _numbered(listing: str | None, names: dict[str, int]) -> str | None:
    """Interfaces by number: rules are planned so, and listed by name."""

    def number(found: re.Match[str]) -> str:
        return f"{found[1]} {names.get(found[2], found[2])}"

    def elements(found: re.Match[str]) -> str:
        return _QUOTED.sub(lambda name: str(names.get(name[1], name[0])), found[0])

    return None if listing is None else _BRIDGES.sub(elements, _INTERFACE.sub(number, listing))


def _unrouted(planned: KernelState) -> list[str]:
    watch = Watch(ruleset.TABLE, ROUTE_PROTOCOL)
    try:
        sinkholes = [SINKHOLE4, *([SINKHOLE6] if _has_ipv6() else [])]
        gone = [f"the route to {each}" for each in sinkholes if not watch.route_stands(each)]
    finally:
        watch.close()
    if planned.rules:
        gone += missing_routing(planned)
        here = dict(sysctl.read([key for key, _ in planned.sysctls]))
        gone += [
            f"sysctl {key}={value}"
            for key, value in planned.sysctls
            if here.get(key, value) != value
        ]
    return gone


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True
