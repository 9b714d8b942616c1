"""The values from which the rules are planned."""

from dataclasses import dataclass, field, fields
from typing import Final

from ramnet.ruleset.names import GATE_UID, TABLE

PORTS: Final = frozenset({80, 443, 3128, 5000})
"""Tier anyip: TCP ports that come to the gate whatever the policy names."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this kernel can do, each one probed by doing it, never read off its version."""

    sets: bool = True
    ct: bool = True
    nat_redirect: bool = True
    reject: bool = True
    counter: bool = True
    skuid: bool = True
    ct_mark: bool = True
    dynamic_sets: bool = True
    socket_cgroupv2: bool = True
    meta_cgroup: bool = True
    socket_lookup: bool = True
    """``socket transparent`` in an input chain: is there a socket for this packet?"""
    ipv6: bool = True
    route_chain: bool = True
    """Chains of type route in family inet (nf_tables since 5.2)."""
    route_chain_ip: bool = True
    """The same in families ip and ip6."""
    policy_routing4: bool = True
    policy_routing6: bool = True
    owner: bool = True
    """A table may be of one netlink socket alone (nf_tables since 5.12)."""
    persist: bool = True
    """Such a table may stay when that socket is closed (since 6.9, nftables 1.1)."""
    transparent: bool = True
    """Sockets of both families answer from any address (IP_TRANSPARENT)."""
    gate_namespace: bool = True
    """A network namespace more, and a veth pair that leads there."""

    @property
    def ownership(self) -> bool:
        """Tables can be ours alone, and outlive us; one without the other is of no use."""
        return self.owner and self.persist

    def listed(self) -> dict[str, bool]:
        """Every capability by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def missing(self) -> tuple[str, ...]:
        """Names of the capabilities that are not there."""
        return tuple(f.name for f in fields(self) if not getattr(self, f.name))


@dataclass(frozen=True, slots=True)
class GateIdentity:
    """By what the kernel tells the gate's own sockets from all others."""

    uid: int = GATE_UID
    cgroup: str | None = None
    """Path below /sys/fs/cgroup, as libnftables takes it (``unified/ramnet.gate``)."""
    cgroup_level: int = 1
    """Depth of that cgroup, counted from the root of cgroup2."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the gate listens, on 127.0.0.1 and ::1."""

    resolver: int
    proxy: int


@dataclass(frozen=True, slots=True)
class Exemption:
    """Traffic that a machine needs for itself; every part that is given must match."""

    uid: int | None = None
    cgroup: str | None = None
    cgroup_level: int = 1
    proto: str | None = None
    port: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would except everything, or more than its words say."""
        if (self.uid, self.cgroup, self.address, self.port) == (None, None, None, None):
            raise ValueError("an exemption names a uid, a cgroup, an address or a port")
        if self.port is not None and self.proto is None:
            raise ValueError("an exemption's port needs its protocol")


@dataclass(frozen=True, slots=True, order=True)
class Inbound:
    """A connection to a local service that was there before the rules."""

    port: int
    """The service's."""
    address: str
    """The far end's, without a zone; an IPv4-mapped one as IPv4."""
    far_port: int


@dataclass(frozen=True, slots=True)
class Members:
    """By what the kernel tells the sockets of a scope that is one cgroup of its namespace."""

    table: str
    cgroup: str | None = None
    """Path below /sys/fs/cgroup, as libnftables takes it; None where a class tells them."""
    cgroup_level: int = 1
    class_id: int | None = None
    """Class of net_cls."""

    def __post_init__(self) -> None:
        """Refuse what would match nobody."""
        if self.cgroup is None and not self.class_id:
            raise ValueError("members need a cgroup or a class")


def member_table(scope: str) -> str:
    """The name of the table of a scope that is one cgroup."""
    return f"{TABLE}_{scope.replace('-', '_')}"


@dataclass(frozen=True, slots=True)
class Situation:
    """One network namespace as the planner needs to know it."""

    ports: Ports
    gate: GateIdentity = field(default_factory=GateIdentity)
    capabilities: Capabilities = field(default_factory=Capabilities)
    exemptions: tuple[Exemption, ...] = ()
    listening: frozenset[int] = frozenset()
    """TCP ports on which local programs listen, the gate's own left out."""
    bridges: frozenset[int] = frozenset()
    """Interface indexes of the bridges to which the container networks belong."""
    containers4: frozenset[str] = frozenset()
    containers6: frozenset[str] = frozenset()
    old_tcp: frozenset[int] = frozenset()
    """Local TCP ports of connections, not to services, that were there before the rules."""
    old_udp: frozenset[int] = frozenset()
    """The same for UDP sockets that are connected to one peer."""
    inbound: frozenset[Inbound] = frozenset()
    """Connections to local services that were there before the rules."""
    ephemeral: tuple[int, int] = (32768, 60999)
    """net.ipv4.ip_local_port_range of the namespace."""
    members: Members | None = None
    """Whose sockets the rules are for; None: the whole namespace."""
    intercepted: frozenset[int] = PORTS
    """Tier anyip: TCP ports on which the gate listens, 53 aside."""
    sysctls_before: tuple[tuple[str, int], ...] = ()
    """Tier anyip: what the keys of ``notes.SYSCTLS`` were before ours."""
    flagged: frozenset[tuple[str, str]] = frozenset()
    """Family and name of tables that stand with flags of an owner's, where ours have none."""
