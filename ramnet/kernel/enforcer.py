"""Makes one network namespace hold what ``ramnet.ruleset`` planned, and keeps it so.

The order of ``install`` matters: sockets first, so that what the rules redirect finds a
listener; then the routes; then all rules in one transaction, read back before anybody relies
on them.
"""

import contextlib
import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ramnet import ruleset
from ramnet.config import Config, Exempt, Scope
from ramnet.errors import ConfigError, KernelRefusedError
from ramnet.kernel import cgroup, listeners, routes, scoping, sysctl, tamper
from ramnet.kernel.netns import Namespace
from ramnet.kernel.nft import Nft
from ramnet.kernel.probe import probe
from ramnet.kernel.sockdiag import ListeningPorts
from ramnet.kernel.surroundings import Changes, Near, read_near
from ramnet.kernel.tables import Tables
from ramnet.kernel.watch import Change, Watch
from ramnet.ruleset import anyip, grammar, redirect

if TYPE_CHECKING:
    from ramnet.kernel.gate_room import GateRoom

_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES: Final = 5
"""How often the rules are put and read while others go on changing theirs."""
_REFUSED_KINDS: Final = ("tcp", "udp", "other")
_MOST_PORTS: Final = 100
"""Of tier anyip; all listeners of a gate go to it in one message (SCM_MAX_FD, unix(7))."""


class Enforcer:
    """The kernel's side of one scope.

    Attributes:
        listeners: the gate's sockets by role, made in the scope's namespace; kept open here so
            that a gate that is started anew gets the same ones.
        problems: what is missing of them, in sentences.
        sinkhole6: whether refused names may also be answered with the IPv6 sinkhole.
    """

    def __init__(self, config: Config, scope: Scope) -> None:
        """Open the scope's namespace and find out what the kernel can do.

        Raises:
            ConfigError: the namespace or an exemption's user does not exist.
            KernelRefusedError: no tier can be had, or privilege is missing.
        """
        self._explicit = config.proxy.explicit if _is_first(config, scope) else []
        self._exemptions = tuple(map(_exemption, config.exempt))
        self.scope = scope
        self.namespace = Namespace(scope.netns)
        self._cgroup = cgroup.GateCgroup(self.namespace.inode)
        try:
            self.capabilities, self._gate = probe(self._cgroup)
            self.tier, self.reason = ruleset.choose_tier(self.capabilities)
            self._scoping = scoping.choose(scope, self.tier, self.capabilities, config.run_dir)
        except BaseException:
            self.namespace.close()
            self._cgroup.discard()
            raise
        self._nft = self.namespace.call(Nft)
        self._tables = Tables(self.namespace, self._nft)
        self._room: GateRoom | None = None
        self._intercepted = ruleset.PORTS
        self._sysctls_before: tuple[tuple[str, int], ...] = ()
        self._listening = self.namespace.call(ListeningPorts)
        self._changes = self.namespace.call(Changes)
        self._watch = self.namespace.call(Watch, self.table, routes.ROUTE_PROTOCOL)
        self._generation = 0
        self._astray: set[str] = set()
        """Sinkholes that this machine's own policy routing sends elsewhere, route or no route."""
        self._near = Near()
        self._old: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
        self._installed: ruleset.Situation | None = None
        self._expected: str | None = None
        self._ephemeral: tuple[int, int] | None = None
        self._ports: ruleset.Ports | None = None
        self.listeners: listeners.Listeners = {}
        self.problems: list[str] = []
        self.sinkhole6 = False

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
        """TCP and UDP ports of the gate's own listeners."""
        if self._room is not None:  # the others are in a namespace of the gate's own
            socks = iter(self.listeners["explicit"])
        else:
            socks = (s for group in self.listeners.values() for s in group)
        return frozenset(s.getsockname()[1] for s in socks)

    @property
    def near(self) -> Near:
        """Own addresses and container networks, as last read."""
        return self._near

    def install(self) -> None:
        """Listen, add the routes, apply the rules in one transaction and read them back.

        Raises:
            KernelRefusedError: the kernel took less than all of it.
        """
        if self.tier is ruleset.Tier.ANYIP:
            self._open_room()
        else:
            self._ports, self.listeners, self.problems = self.namespace.call(
                listeners.open_listeners, self._explicit
            )
        _, self.sinkhole6 = self.namespace.call(routes.add_sinkhole_routes)
        self.sinkhole6 &= self.tier is ruleset.Tier.REDIRECT or self.capabilities.policy_routing6
        self.apply()
        for table in self._names - {self.table}:
            self._delete(table)

    def _open_room(self) -> None:
        from ramnet.kernel.gate_room import GateRoom  # it loads pyroute2

        explicit, self.problems = self.namespace.call(listeners.open_explicit, self._explicit)
        self.listeners = {"explicit": explicit}
        ipv6 = self.capabilities.policy_routing6
        self._room = GateRoom(self.namespace, anyip.DEVICE, ipv6=ipv6)
        state = ruleset.plan_state(self._situation(_planned_ports()))
        self.listeners = {**self._room.listen(state.listeners), **self.listeners}

    def follow_ports(self, named: Iterable[int]) -> listeners.Listeners:
        """Have TCP to these ports come to the gate as well; returns the listeners made for it.

        In tier redirect every port does already. In tier anyip ports beyond a hundred in all
        stay refused. Ports that were named once stay: it is the gate that decides.

        Raises:
            KernelRefusedError: a listener or the rules for it cannot be had.
        """
        fresh = sorted(set(named) - self._intercepted - {53})
        fresh = fresh[: _MOST_PORTS - len(self._intercepted)]
        if self._room is None or not fresh:
            return {}
        families = {listener.family for listener in self._state().listeners}
        wanted = anyip.listeners(fresh, sorted(families))
        made = self._room.listen(w for w in wanted if w.role == "transparent")
        self.listeners["transparent"] += made["transparent"]
        self._intercepted |= frozenset(fresh)
        self.apply()
        return made

    def apply(self) -> None:
        """Set the whole desired state from what is true now; again and again if need be."""
        self._scoping.renew()
        self._near = self.namespace.call(read_near)
        self._old = self._old_ports()
        self._ephemeral = None
        self._sysctls_before = self._read_sysctls_before()
        situation = self._situation(self._ports or _planned_ports())
        if self.tier is ruleset.Tier.ANYIP:
            self._tables.apply(ruleset.plan_state(situation))
            self._watch.made_it()
        else:
            self._expected = self._put_and_read(situation)
        self._installed = situation

    def _put_and_read(self, situation: ruleset.Situation) -> str:
        """The listing of what we put there, and of nothing that another hand added meanwhile."""
        listing = None
        for _ in range(_TRIES):
            ours = self._watch.generation() + 1
            self._put(situation)
            listing = self.namespace.call(self._nft.chains, self.table)
            if listing is not None and self._watch.generation() in (ours, 0):
                break
        if listing is None:
            raise KernelRefusedError("the kernel took the rules and does not list them")
        return listing

    def _put(self, situation: ruleset.Situation) -> None:
        self.namespace.call(self._nft.apply, ruleset.render_table(situation))
        self._watch.made_it()

    @property
    def tamper_descriptors(self) -> tuple[int, ...]:
        """Readable as soon as anything changes rules or routes; ``tampered`` reads them."""
        return self._watch.descriptors

    def tampered(self) -> Change:
        """What another hand has changed since the last call."""
        return self._watch.read() if self._installed is not None else Change()

    def restore(self, *, sets: bool) -> str:
        """Set again what is not as installed; what was found changed, empty if nothing was.

        ``sets`` says that elements may have been changed, which the comparison does not see.
        """
        if self._installed is None:
            return ""
        if self.tier is ruleset.Tier.ANYIP:
            return self._restore_whole(sets=sets)
        before = self.namespace.call(self._nft.chains, self.table)
        changed = before != self._expected
        if changed or sets:
            self._put(self._installed)  # closed again; the rest may take longer
        found = [tamper.difference(self._expected, before)]
        found += self.namespace.call(routes.restore_sinkhole_routes)
        self._astray = {each for each in self._sinkholes() if not self._watch.route_stands(each)}
        if changed:
            # Without our rules conntrack may not have run: what got out meanwhile is to be cut.
            tcp, udp = self.namespace.call(self._listening.read_connected)
            self._old = self._old[0] | tcp, self._old[1] | udp
        if changed or sets:
            self.apply()
        return "; ".join(filter(None, found))

    def _restore_whole(self, *, sets: bool) -> str:
        found = self.namespace.call(routes.restore_sinkhole_routes)
        if not self._tables.intact():
            found.append("rules, routing rules or routes of tier anyip")
        if found or sets:
            self.apply()
        return "; ".join(found)

    def plan(self) -> str:
        """The text that ``install`` would apply, with nothing applied."""
        self._near = self.namespace.call(read_near)
        return self._state().render()

    def _state(self) -> ruleset.KernelState:
        return ruleset.plan_state(self._situation(self._ports or _planned_ports()))

    def refresh(self) -> bool:
        """Bring the sets up to date; True if addresses or container networks changed."""
        if self._installed is None:
            return False
        if self._scoping.moved():
            self.apply()
        if self.tier is ruleset.Tier.ANYIP:
            return self._refresh_whole()
        listening = self._listening_ports()
        if listening != self._installed.listening:
            self._follow_listening(self._installed.listening, listening)
        changed = self._changes.pending() and self._refresh_near()
        if changed or listening != self._installed.listening:
            self._installed = self._situation(self._installed.ports, listening)
        return changed

    def _follow_listening(self, before: frozenset[int], now: frozenset[int]) -> None:
        """Tell what changed: any user may listen on all ports, and the whole set costs seconds."""
        gone, come = (map(str, sorted(ports)) for ports in (before - now, now - before))
        try:
            self._change_sets(redirect.render_changes("listening", gone, come, self.table))
        except KernelRefusedError:  # somebody else changed the set
            self._replace("listening", map(str, sorted(now)))

    def _refresh_whole(self) -> bool:
        """Without sets, networks stand in the rules themselves."""
        if not self._changes.pending():
            return False
        near = self.namespace.call(read_near)
        if near == self._near:
            return False
        self.apply()
        return True

    def _refresh_near(self) -> bool:
        near = self.namespace.call(read_near)
        if near == self._near:
            return False
        self._near = near
        self._replace("containers4", sorted(near.containers4))
        self._replace("containers6", sorted(near.containers6))
        self._replace("bridges", map(str, sorted(near.bridges)))
        return True

    def _replace(self, name: str, elements: Any) -> None:
        self._change_sets(redirect.render_elements(name, elements, self.table))

    def _change_sets(self, text: str) -> None:
        before = self._watch.generation()
        self.namespace.call(self._nft.apply, text)
        if before == self._generation and self._watch.generation() == before + 1:
            self._generation = before + 1

    def intact(self) -> bool:
        """Whether rules and routes stand in the kernel as they were installed."""
        stand = self._watch.route_stands
        routed = all(stand(each) for each in self._sinkholes() - self._astray)
        return self._rules_intact() and routed

    def _sinkholes(self) -> set[str]:
        return {ruleset.SINKHOLE4} | ({ruleset.SINKHOLE6} if self.sinkhole6 else set())

    def _rules_intact(self) -> bool:
        if self.tier is ruleset.Tier.ANYIP:
            return self._tables.intact()
        generation = self._watch.generation()
        if generation and generation == self._generation:
            return True  # no transaction since they were last read
        stand = self.namespace.call(self._nft.chains, self.table) == self._expected
        self._generation = generation if stand else 0
        return stand

    def refused(self) -> dict[str, int]:
        """Packets that the rules refused, by protocol."""
        counted = self.namespace.call(self._nft.counters, self.table)
        return dict(zip(_REFUSED_KINDS, counted.get("refuse", ()), strict=False))

    def remove(self) -> None:
        """Take away everything of either tier, and our cgroups; closes the listeners.

        Of either, since the service that applied it may have had other capabilities.
        """
        from ramnet.kernel.gate_room import remove_pair  # it loads pyroute2

        standing = self.namespace.call(self._nft.listing, ruleset.TABLE) or ""
        before = anyip.sysctls_before(standing) or self._sysctls_before
        if ruleset.TABLE in self._names:
            self._tables.remove(anyip.all_of_it(), before)
        for table in self._names:
            self._delete(table)
        if self._room is not None:
            self._room.close()
            self._room = None
        self.namespace.call(remove_pair, anyip.DEVICE)
        self.namespace.call(routes.remove_sinkhole_routes)
        self.close()
        self._cgroup.remove()
        if self._scoping.cgroup is not None:
            self._scoping.cgroup.remove()

    @property
    def _names(self) -> frozenset[str]:
        """The tables that the scope may have: an earlier run may have told it apart otherwise."""
        if self.scope.cgroup is None:
            return frozenset({ruleset.TABLE})
        return frozenset({ruleset.TABLE, ruleset.member_table(self.scope.name)})

    def _delete(self, table: str) -> None:
        if self.namespace.call(self._nft.listing, table) is not None:
            self.namespace.call(self._nft.apply, f"delete table inet {table}\n")

    def close(self) -> None:
        """Let go of sockets and namespace; the rules stay and refuse."""
        listeners.close_listeners(self.listeners)
        if self._room is not None:
            self._leave_room(self._room)
        self._listening.close()
        self._changes.close()
        self._watch.close()
        self.namespace.close()
        if self._installed is None:
            self._cgroup.discard()
            if self._scoping.cgroup is not None:
                self._scoping.cgroup.discard()

    def leave(self) -> None:
        """``close``, and no gate will come here again; the scope's cgroup is still in use."""
        self.close()
        self._cgroup.remove()

    def _leave_room(self, room: "GateRoom") -> None:
        with contextlib.suppress(KernelRefusedError):  # where somebody took the rules away
            situation = self._installed or self._situation(_planned_ports())
            self.namespace.call(self._nft.apply, anyip.without_gate(situation))
        room.close()

    def describe(self) -> dict[str, Any]:
        """What ``ramnet status`` says of it."""
        return {
            "name": self.scope.name,
            "netns": self.scope.netns,
            "tier": self.tier.value,
            "reason": self.reason,
            "scoping": self._scoping.means,
            "scoping_reason": self._scoping.reason,
            "cgroup": self.scope.cgroup,
            "table": self.table,
            "gate_identity": "uid and cgroup" if self._gate.cgroup else "uid",
            "capabilities": self.capabilities.listed(),
            "missing_capabilities": list(self.capabilities.missing()),
            "intercepted_ports": self._described_ports(),
            "container_networks": sorted(self._near.containers4 | self._near.containers6),
        }

    def _described_ports(self) -> list[int] | str:
        if self.tier is ruleset.Tier.REDIRECT:
            return "all"
        return sorted({53, *self._intercepted})

    def _read_sysctls_before(self) -> tuple[tuple[str, int], ...]:
        """From the table that stands, where one of ours does; else as they are now."""
        if self.tier is ruleset.Tier.REDIRECT:
            return ()
        standing = self.namespace.call(self._nft.listing, ruleset.TABLE) or ""
        noted = anyip.sysctls_before(standing) or self._sysctls_before
        return noted or self.namespace.call(sysctl.read, anyip.SYSCTLS)

    def _listening_ports(self) -> frozenset[int]:
        listening = self._listening.read()
        # Members come to the explicit proxy by the rules, as they come to every port that is near.
        return listening if self._scoping.members else listening - self.gate_ports

    def _old_ports(self) -> tuple[frozenset[int], frozenset[int]]:
        """Ports of connections older than the rules; where rules stand, those that they knew."""
        standing = self.namespace.call(self._nft.listing, self.table)
        if standing is not None and self._installed is not None:
            return self._old
        known = None if standing is None else grammar.port_sets(standing, "old_tcp", "old_udp")
        tcp, udp = known or self.namespace.call(self._listening.read_connected)
        return self._old[0] | tcp, self._old[1] | udp

    def _situation(
        self, ports: ruleset.Ports, listening: frozenset[int] | None = None
    ) -> ruleset.Situation:
        return ruleset.Situation(
            ports=ports,
            gate=self._gate,
            capabilities=self.capabilities,
            exemptions=self._exemptions,
            listening=self._listening_ports() if listening is None else listening,
            containers4=self._near.containers4,
            containers6=self._near.containers6,
            bridges=self._near.bridges,
            old_tcp=self._old[0],
            old_udp=self._old[1],
            ephemeral=self._ephemeral_range(),
            members=self._scoping.members,
            intercepted=self._intercepted,
            sysctls_before=self._sysctls_before,
        )

    def _ephemeral_range(self) -> tuple[int, int]:
        if self._ephemeral is None:
            self._ephemeral = self.namespace.call(_ephemeral_ports)
        return self._ephemeral


def _is_first(config: Config, scope: Scope) -> bool:
    """Of the scopes in one namespace one has the explicit listeners; every gate serves them."""
    return next(other for other in config.scopes if other.netns == scope.netns) == scope


def _planned_ports() -> ruleset.Ports:
    return ruleset.Ports(listeners.RESOLVER_PORT, listeners.RESOLVER_PORT + 1)


def _ephemeral_ports() -> tuple[int, int]:
    low, high = _PORT_RANGE.read_text(encoding="ascii").split()
    return int(low), int(high)


def _exemption(exempt: Exempt) -> ruleset.Exemption:
    return ruleset.Exemption(
        uid=_uid(exempt.uid),
        cgroup=_nft_cgroup(exempt.cgroup),
        cgroup_level=len(Path(exempt.cgroup).parts) if exempt.cgroup else 1,
        proto=exempt.proto,
        port=exempt.port,
        address=exempt.address,
    )


def _uid(user: str | int | None) -> int | None:
    if user is None or isinstance(user, int):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(f"exempt: there is no user {user!r} on this machine") from None


def _nft_cgroup(path: str | None) -> str | None:
    if path is None:
        return None
    mount = cgroup.cgroup2_mount()
    directory = None if mount is None else mount / path
    if directory is None or not directory.is_dir():
        raise ConfigError(f"exempt: there is no cgroup {path!r} on this machine")
    return cgroup.nft_path(directory)
