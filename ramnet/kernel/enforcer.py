"""Makes one network namespace hold what ``ramnet.ruleset`` planned, and keeps it so.

The order of ``install`` matters: sockets first, so that what the rules redirect finds a
listener; then the routes; then all rules in one transaction, read back before anybody relies
on them. ``survey`` reads what the rules are planned from, ``standing`` puts, reads back and mends
them.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, Final, Literal

from ramnet import ruleset
from ramnet.caveats.cover import bridges_of
from ramnet.config import Config, Scope
from ramnet.config_values import parse_endpoint
from ramnet.errors import KernelRefusedError
from ramnet.kernel import cgroup, listeners, loopback, routes, scoping
from ramnet.kernel.cover import CoverRules
from ramnet.kernel.exemptions import read_exemption
from ramnet.kernel.netns import Namespace
from ramnet.kernel.probe import probe
from ramnet.kernel.standing import Standing
from ramnet.kernel.surroundings import Near
from ramnet.kernel.survey import Survey
from ramnet.kernel.watch import Change
from ramnet.ruleset import anyip
from ramnet.ruleset.cover import cover_table

if TYPE_CHECKING:
    from ramnet.kernel.gate_room import GateRoom

_MOST_PORTS: Final = 100
"""Of tier anyip; all listeners of a gate go to it in one message (SCM_MAX_FD, unix(7))."""


class Enforcer:
    """The kernel's side of one scope.

    Attributes:
        listeners: the gate's sockets by role, made in the scope's namespace; kept open here so
            that a gate that is started anew gets the same ones.
        problems: what is missing of them, in sentences.
    """

    def __init__(self, config: Config, scope: Scope) -> None:
        """Open the scope's namespace and find out what the kernel can do.

        Raises:
            ConfigError: the namespace or an exemption's user does not exist.
            KernelRefusedError: no tier can be had, or privilege is missing.
        """
        self._explicit = config.proxy.explicit if _is_first(config, scope) else []
        exemptions = tuple(map(read_exemption, config.exempt))
        self.scope = scope
        self.namespace = Namespace(scope.netns)
        self._cgroup = cgroup.GateCgroup(self.namespace.inode)
        try:
            self.capabilities, self._gate = probe(self._cgroup)
            self.tier, self.reason = ruleset.choose_tier(self.capabilities)
            self._check_cover()
            self._scoping = scoping.choose(scope, self.tier, self.capabilities, config.run_dir)
        except BaseException:
            self.namespace.close()
            self._cgroup.discard()
            raise
        self._survey = Survey(
            self.namespace, self._scoping, self._gate, self.capabilities, exemptions
        )
        self._standing = Standing(self.namespace, self._survey, self._scoping, self.tier)
        self._room: GateRoom | None = None
        self.cover: CoverRules | None = None
        if scope.containers:
            whole = bridges_of(scope.containers)
            self.cover = CoverRules(self.namespace, self._survey, self._cover_table, whole)
        self.listeners: listeners.Listeners = {}
        self.problems: list[str] = []

    def _check_cover(self) -> None:
        if self.scope.containers and self.tier is ruleset.Tier.ANYIP:
            raise KernelRefusedError(
                f"scope {self.scope.name}: `containers` cannot be had on this kernel "
                f"({self.reason}); take it out of the scope"
            )

    @property
    def _cover_table(self) -> str:
        return cover_table(self.scope.name)

    @property
    def namespace_descriptor(self) -> int:
        """Open file of the scope's network namespace."""
        return self.namespace.descriptor

    @property
    def table(self) -> str:
        """The table (family inet) that holds the scope's rules."""
        return self._scoping.table

    @property
    def interception(self) -> Literal["redirect", "anyip"]:
        """How connections come to the gate, and where it finds their destination."""
        return "anyip" if self.tier is ruleset.Tier.ANYIP else "redirect"

    @property
    def gate_cgroup(self) -> Path | None:
        """The cgroup that the gate's process must join before it opens a socket."""
        return None if self._gate.cgroup is None else Path("/sys/fs/cgroup", self._gate.cgroup)

    @property
    def gate_ports(self) -> frozenset[int]:
        """TCP and UDP ports of the gate's own listeners in this namespace."""
        return self._survey.gate_ports

    @property
    def near(self) -> Near:
        """Own addresses and container networks, as last read."""
        return self._survey.near

    @property
    def sinkhole6(self) -> bool:
        """Whether refused names may also be answered with the IPv6 sinkhole."""
        return self._standing.sinkhole6

    def install(self) -> None:
        """Listen, add the routes, apply the rules in one transaction and read them back.

        Raises:
            KernelRefusedError: the kernel took less than all of it.
        """
        if self.tier is ruleset.Tier.ANYIP:
            self._open_room()
        else:
            self._survey.ports, self.listeners, self.problems = self.namespace.call(
                listeners.open_listeners, self._explicit
            )
            self._survey.gate_ports = _ports(*self.listeners.values())
            if self.cover is not None:
                self._survey.gate_ports |= self.cover.listen()
                self.listeners |= self.cover.listeners
        _, sinkhole6 = self.namespace.call(routes.add_sinkhole_routes)
        answered = self.tier is ruleset.Tier.REDIRECT or self.capabilities.policy_routing6
        self._standing.sinkhole6 = sinkhole6 and answered
        self.apply()
        if self.cover is not None:
            self.cover.install()
        gone = self._names - {self.table} - ({self._cover_table} if self.cover else set())
        for table in gone:
            self._standing.delete(table)

    def _open_room(self) -> None:
        from ramnet.kernel.gate_room import GateRoom  # it loads pyroute2

        explicit, self.problems = self.namespace.call(listeners.open_explicit, self._explicit)
        self.listeners = {"explicit": explicit}
        self._survey.gate_ports = _ports(explicit)  # the others are in a namespace of their own
        ipv6 = self.capabilities.policy_routing6
        self._room = GateRoom(self.namespace, anyip.DEVICE, ipv6=ipv6)
        self.listeners = {**self._room.listen(self._state().listeners), **self.listeners}

    def follow_ports(self, named: Iterable[int]) -> listeners.Listeners:
        """Have TCP to these ports come to the gate as well; returns the listeners made for it.

        In tier redirect every port does already. In tier anyip ports beyond a hundred in all
        stay refused. Ports that were named once stay: it is the gate that decides.

        Raises:
            KernelRefusedError: a listener or the rules for it cannot be had.
        """
        intercepted = self._survey.intercepted
        fresh = sorted(set(named) - intercepted - {53})[: _MOST_PORTS - len(intercepted)]
        if self._room is None or not fresh:
            return {}
        families = {listener.family for listener in self._state().listeners}
        wanted = anyip.listeners(fresh, sorted(families))
        made = self._room.listen(w for w in wanted if w.role == "transparent")
        self.listeners["transparent"] += made["transparent"]
        self._survey.intercepted |= frozenset(fresh)
        self.apply()
        return made

    def apply(self) -> None:
        """Set the whole desired state from what is true now; again and again if need be."""
        self._standing.apply()

    @property
    def tamper_descriptors(self) -> tuple[int, ...]:
        """Readable as soon as anything changes rules or routes; ``tampered`` reads them."""
        beside = () if self.cover is None else self.cover.descriptors
        return self._standing.tamper_descriptors + beside

    def tampered(self) -> Change:
        """What another hand has changed since the last call."""
        change = self._standing.tampered()
        if self.cover is None:
            return change
        beside = self.cover.tampered()
        return Change(
            change.rules or beside.rules, change.routes or beside.routes, change.who or beside.who
        )

    def restore(self, *, sets: bool) -> str:
        """Set again what is not as installed; what was found changed, empty if nothing was.

        ``sets`` says that elements may have been changed, which the comparison does not see.
        """
        # Both, whatever becomes of the first: one of them may stand well.
        beside = "" if self.cover is None else self.cover.restore(sets=sets)
        return "; ".join(filter(None, (self._standing.restore(sets=sets), beside)))

    def plan(self) -> str:
        """The text that ``install`` would apply, with nothing applied.

        Where the first ports of the gate's are another program's, ``install`` takes the next.
        """
        if not self.listeners:
            self._survey.gate_ports = self._planned_ports()
        text = self._standing.plan().render()  # it reads what is near, for both
        return text if self.cover is None else text + self.cover.plan(self._cover_ports)

    @property
    def _cover_ports(self) -> ruleset.Ports:
        """The next ones, where nobody else has them."""
        ports = self._survey.ports
        return ruleset.Ports(ports.resolver + 2, ports.proxy + 2)

    def situation_with(
        self, *, ports: ruleset.Ports | None, intercepted: frozenset[int]
    ) -> ruleset.Situation:
        """What rules are planned from now, for a gate with these ports; nothing is set."""
        self._survey.ports = ports or self._survey.ports
        self._survey.intercepted = intercepted or self._survey.intercepted
        self._survey.gate_ports = self._planned_ports()
        return self._standing.situation_now()

    def _planned_ports(self) -> frozenset[int]:
        explicit = {parse_endpoint(text).port for text in self._explicit}
        if self.tier is ruleset.Tier.ANYIP:
            return frozenset(explicit)
        pairs = [self._survey.ports, *([self._cover_ports] if self.cover else [])]
        return frozenset(explicit).union(*((p.resolver, p.proxy) for p in pairs))

    def _state(self) -> ruleset.KernelState:
        return ruleset.plan_state(self._survey.situation())

    def refresh(self) -> bool:
        """Bring the sets up to date; True if addresses or container networks changed."""
        changed = self._standing.refresh()
        if changed and self.cover is not None:
            self.cover.refresh()
        return changed

    def intact(self) -> bool:
        """Whether rules and routes stand in the kernel as they were installed."""
        return self._standing.intact() and (self.cover is None or self.cover.intact())

    def refused(self) -> dict[str, int]:
        """Packets that the rules refused, by protocol."""
        return self._standing.refused()

    def remove(self) -> None:
        """Take away everything of either tier, and our cgroups; closes the listeners.

        Of either, since the service that applied it may have had other capabilities.
        """
        from ramnet.kernel.gate_room import remove_pair  # it loads pyroute2

        if self.cover is not None:
            self.cover.remove()
        self._standing.remove(self._names)
        if self._room is not None:
            self._room.close()
            self._room = None
        self.namespace.call(remove_pair, anyip.DEVICE)
        self.namespace.call(routes.remove_sinkhole_routes)
        self.namespace.call(loopback.release)
        self.close()
        self._cgroup.remove()
        if self._scoping.cgroup is not None:
            self._scoping.cgroup.remove()

    @property
    def _names(self) -> frozenset[str]:
        """The tables that the scope may have: an earlier run may have told it apart otherwise."""
        if self.scope.cgroup is None:
            return frozenset({ruleset.TABLE, self._cover_table})
        own = ruleset.member_table(self.scope.name)
        return frozenset({ruleset.TABLE, own, self._cover_table})

    def close(self) -> None:
        """Let go of sockets and namespace; the rules stay and refuse."""
        if self.cover is not None:
            self.cover.close()
        listeners.close_listeners(self.listeners)
        if self._room is not None:
            with contextlib.suppress(KernelRefusedError):  # where somebody took the rules away
                self._standing.refuse_without_gate()
            self._room.close()
        self._survey.close()
        self._standing.close()
        self.namespace.close()
        if self._standing.installed is None:
            self._cgroup.discard()
            if self._scoping.cgroup is not None:
                self._scoping.cgroup.discard()

    def leave(self) -> None:
        """``close``, and no gate will come here again; the scope's cgroup is still in use."""
        self.close()
        self._cgroup.remove()

    def describe(self) -> dict[str, Any]:
        """What ``ramnet status`` says of it."""
        near = self._survey.near
        return {
            "name": self.scope.name,
            "netns": self.scope.netns,
            "tier": self.tier.value,
            "reason": self.reason,
            "scoping": self._scoping.means,
            "scoping_reason": self._scoping.reason,
            "cgroup": self._scoping.path or self.scope.cgroup,
            "table": self.table,
            "gate_identity": "uid and cgroup" if self._gate.cgroup else "uid",
            "capabilities": self.capabilities.listed(),
            "missing_capabilities": list(self.capabilities.missing()),
            "intercepted_ports": self._described_ports(),
            "container_networks": sorted(near.containers4 | near.containers6),
        }

    def _described_ports(self) -> list[int] | str:
        if self.tier is ruleset.Tier.REDIRECT:
            return "all"
        return sorted({53, *self._survey.intercepted})


def _is_first(config: Config, scope: Scope) -> bool:
    """Of the scopes in one namespace one has the explicit listeners; every gate serves them."""
    return next(other for other in config.scopes if other.netns == scope.netns) == scope


def _ports(*groups: Iterable[socket]) -> frozenset[int]:
    return frozenset(sock.getsockname()[1] for group in groups for sock in group)
