"""Reads in one network namespace what its rules are planned from."""

from pathlib import Path
from typing import Final

from ramnet import ruleset
from ramnet.kernel import listeners, sysctl
from ramnet.kernel.netns import Namespace
from ramnet.kernel.scoping import Scoping
from ramnet.kernel.sockdiag import ListeningPorts
from ramnet.kernel.surroundings import Changes, Near, read_near
from ramnet.ruleset import grammar, notes, redirect
from ramnet.ruleset.hold import MARK_OF_HOLD

_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Survey:
    """What is true of the namespace, as last read, and what the gate adds to it.

    Attributes:
        near: own addresses and container networks.
        ports: where the gate listens, or would.
        gate_ports: TCP and UDP ports of the gate's own listeners, which are no local services.
        intercepted: TCP ports that come to the gate in tier anyip.
    """

    def __init__(
        self,
        namespace: Namespace,
        scoping: Scoping,
        gate: ruleset.GateIdentity,
        capabilities: ruleset.Capabilities,
        exemptions: tuple[ruleset.Exemption, ...],
    ) -> None:
        """Nothing is read yet."""
        self._namespace, self._scoping, self._gate = namespace, scoping, gate
        self._capabilities, self._exemptions = capabilities, exemptions
        self._listening = namespace.call(ListeningPorts)
        self._changes = namespace.call(Changes)
        self._old: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())
        self._inbound: frozenset[ruleset.Inbound] = frozenset()
        self._ephemeral: tuple[int, int] | None = None
        self._sysctls_before: tuple[tuple[str, int], ...] = ()
        self.near = Near()
        self.ports = ruleset.Ports(listeners.RESOLVER_PORT, listeners.RESOLVER_PORT + 1)
        self.gate_ports = frozenset[int]()
        self.intercepted = ruleset.PORTS

    def read_near(self) -> bool:
        """Read addresses and container networks; True if they changed."""
        before = self.near
        self.near = self._namespace.call(read_near)
        return self.near != before

    def near_may_have_changed(self) -> bool:
        """Whether the kernel reported anything of that kind since the last call."""
        return self._changes.pending()

    def read_all(self, standing: str | None, *, installed: bool) -> ruleset.Situation:
        """Read everything anew.

        ``standing`` is the listing of the scope's table, ``installed`` says that it is ours.
        """
        self.read_near()
        self._old = self._old_ports(standing, installed=installed)
        if not installed:
            self._inbound = self._old_inbound(standing)
        self._ephemeral = None
        return self.situation()

    def note_sysctls(self, standing: str) -> None:
        """What the sysctls were: by the table that stands, where one of ours does, else as now."""
        noted = self.sysctls_before(standing)
        self._sysctls_before = noted or self._namespace.call(sysctl.read, notes.SYSCTLS)

    def sysctls_before(self, standing: str) -> tuple[tuple[str, int], ...]:
        """What the sysctls were before ours, as far as it is known."""
        return notes.sysctls_before(standing) or self._sysctls_before

    def add_old_connections(self) -> None:
        """Count what is connected now among the connections that are to be cut."""
        tcp, udp = self._namespace.call(self._listening.read_connected)
        self._old = self._old[0] | tcp, self._old[1] | udp

    def listening_ports(self) -> frozenset[int]:
        """TCP ports on which local programs listen now, or the gate is about to."""
        listening = self._listening.read()
        # Members come to the explicit proxy by the rules, as they come to every port that is near.
        if self._scoping.members:
            return listening | self.gate_ports
        return listening - self.gate_ports

    def situation(self, listening: frozenset[int] | None = None) -> ruleset.Situation:
        """For the planner, from what was read last; ``listening`` where it was read just now."""
        return ruleset.Situation(
            ports=self.ports,
            gate=self._gate,
            capabilities=self._capabilities,
            exemptions=self._exemptions,
            listening=self.listening_ports() if listening is None else listening,
            containers4=self.near.containers4,
            containers6=self.near.containers6,
            bridges=self.near.bridges,
            old_tcp=self._old[0],
            old_udp=self._old[1],
            inbound=self._inbound,
            ephemeral=self._ephemeral_range(),
            members=self._scoping.members,
            intercepted=self.intercepted,
            sysctls_before=self._sysctls_before,
        )

    def close(self) -> None:
        """Let go of the sockets that ask."""
        self._listening.close()
        self._changes.close()

    def _old_ports(
        self, standing: str | None, *, installed: bool
    ) -> tuple[frozenset[int], frozenset[int]]:
        """Ports of connections older than the rules; where rules stand, those that they knew."""
        if standing is not None and installed:
            return self._old
        known = None if standing is None else grammar.port_sets(standing, "old_tcp", "old_udp")
        tcp, udp = known or self._namespace.call(self._listening.read_connected)
        return self._old[0] | tcp, self._old[1] | udp

    def _old_inbound(self, standing: str | None) -> frozenset[ruleset.Inbound]:
        """Where rules stand, those that they knew: what came later could be anybody's."""
        if standing is not None and MARK_OF_HOLD not in standing:
            return redirect.read_inbound(standing)
        found = self._namespace.call(self._listening.read_inbound)
        low, high = self._ephemeral_range()
        return frozenset(old for old in found if not low <= old.port <= high)

    def _ephemeral_range(self) -> tuple[int, int]:
        if self._ephemeral is None:
            self._ephemeral = self._namespace.call(_ephemeral_ports)
        return self._ephemeral


def _ephemeral_ports() -> tuple[int, int]:
    low, high = _PORT_RANGE.read_text(encoding="ascii").split()
    return int(low), int(high)
