"""Walks a packet through the table in memory, so that tests and ``verify`` ask for its fate.

Only what ``ramnet.ruleset.grammar`` reads is interpreted, and of that tier redirect, the table that
covers containers included. Other tools' tables are not seen; what Docker's NAT would do at its
priority (-100) can be given with the packet (``Packet.dnat``).
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from ramnet.ruleset.grammar import (
    Flags,
    GrammarError,
    Item,
    Match,
    Rule,
    SetName,
    Statement,
    Table,
    parse_table,
)

PROTOCOLS: Final = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51,
    "icmpv6": 58, "ipv6-icmp": 58, "sctp": 132, "udplite": 136,
}  # fmt: skip
"""Names of IP protocols, as packets and rules give them."""

VerdictName = Literal["accepted", "redirected", "reset", "icmp", "dropped"]


@dataclass(frozen=True, slots=True)
class Connection:
    """What conntrack knows of the connection to which a packet belongs."""

    state: Literal["new", "established"] = "new"
    direction: Literal["original", "reply"] = "original"
    dnat: bool = False
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of this namespace: one with ``iif`` alone comes in, with ``iif`` and ``oif`` it is
    forwarded where no rule redirects it, and any other goes out.

    Attributes:
        source: asked of forwarded packets alone.
        protocol: name or number (of ``PROTOCOLS``).
        destination: as it is on this packet, after the NAT of an earlier packet.
        oif: interface that routing chose; ``bound``: the socket insists on it.
        ifindex: index of ``oif``, of ``iif`` where it comes in, as the set of bridges holds it.
        uid: owner of the socket; None where the kernel made the packet without one.
        cgroup: ``level path`` pairs are compared as text, as rules give them: ``1 ramnet.gate``.
        class_id: the class of net_cls that the socket has.
        transparent: whether the local socket that would take an incoming packet has
            IP_TRANSPARENT; None where there is no such socket.
        connection: None where conntrack does not track the packet (invalid).
        dnat: destination that other tools' NAT gives a new connection that ours let pass.
        rerouted: interface and index that routing chooses after NAT changed the destination.
    """

    destination: str
    protocol: str | int = "tcp"
    dport: int = 0
    sport: int = 40000
    flags: frozenset[str] = frozenset({"syn"})
    icmp_type: str = "echo-request"
    oif: str | None = "eth0"
    iif: str | None = None
    ifindex: int = 2
    bound: bool = False
    uid: int | None = 0
    cgroup: str | None = None
    class_id: int | None = None
    transparent: int | None = None
    connection: Connection | None = field(default_factory=Connection)
    dnat: str | None = None
    rerouted: tuple[str, int] = ("lo", 1)
    source: str | None = None

    @property
    def protocol_number(self) -> int:
        """As the IP header has it."""
        return PROTOCOLS[self.protocol] if isinstance(self.protocol, str) else self.protocol


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a packet.

    Attributes:
        port: port of the gate to which it was redirected.
        icmp: code of the ICMP error that its sender gets.
        mark: its connection's mark afterwards.
        learned: sets to which a rule added the connection's port.
        rules: the text of every rule that matched, in order.
    """

    verdict: VerdictName
    port: int | None = None
    icmp: str | None = None
    mark: int = 0
    learned: frozenset[str] = frozenset()
    rules: tuple[str, ...] = field(default=(), compare=False)


def trace(table: str | Table, packet: Packet) -> Fate:
    """Say what the table does with the packet.

    Raises:
        GrammarError: the table holds what this module does not know.
    """
    parsed = parse_table(table) if isinstance(table, str) else table
    if any(chain.kind == "route" for chain in parsed.chains.values()):
        raise GrammarError("this table is of tier anyip; only tier redirect can be traced")
    return _Walk(parsed, packet).fate()


class _Walk:
    """One packet on its way; NAT and marks change it as it goes."""

    def __init__(self, table: Table, packet: Packet) -> None:
        self._table = table
        self._packet = packet
        self._redirected: int | None = None
        self._learned: set[str] = set()
        self._rules: list[str] = []

    def fate(self) -> Fate:
        for kind, hook in self._hooks():
            end = self._hook(kind, hook)
            if end is not None and end.kind != "accept":
                return self._ended(end)
        verdict: VerdictName = "accepted" if self._redirected is None else "redirected"
        return self._fate(verdict, port=self._redirected)

    def _hooks(self) -> Iterator[tuple[str, str]]:
        if self._packet.iif is not None:
            yield from self._arriving()
            return
        if self._is_new:
            yield "nat", "output"
            self._others_nat()
        yield "filter", "output"
        self._route_anew()
        yield "filter", "postrouting"

    @property
    def _is_new(self) -> bool:
        """NAT chains see the first packet of a connection alone."""
        connection = self._packet.connection
        return connection is not None and connection.state == "new" and not connection.dnat

    def _arriving(self) -> Iterator[tuple[str, str]]:
        if self._is_new:
            yield "nat", "prerouting"
        if self._packet.oif is None or self._redirected is not None:
            yield "filter", "input"
            return
        yield "filter", "forward"
        yield "filter", "postrouting"

    def _route_anew(self) -> None:
        """After NAT; filter chains of the hook before saw the old interface (facts/kernels.md)."""
        packet, connection = self._packet, self._packet.connection
        if connection is None or not connection.dnat or connection.direction == "reply":
            return
        if not packet.bound:
            self._packet = replace(packet, oif=packet.rerouted[0], ifindex=packet.rerouted[1])

    def _others_nat(self) -> None:
        if self._redirected is None and self._packet.dnat is not None:
            self._translate(self._packet.dnat, self._packet.dport)

    def _translate(self, destination: str, port: int) -> None:
        connection = self._packet.connection
        assert connection is not None
        self._packet = replace(
            self._packet,
            destination=destination,
            dport=port,
            connection=replace(connection, dnat=True),
        )

    def _hook(self, kind: str, hook: str) -> Statement | None:
        chains = [c for c in self._table.chains.values() if (c.kind, c.hook) == (kind, hook)]
        for chain in sorted(chains, key=lambda chain: chain.priority):
            end = self._chain(chain.rules) or Statement(chain.policy)
            if end.kind not in ("accept", "redirect"):
                return end
        return None

    def _chain(self, rules: tuple[Rule, ...]) -> Statement | None:
        for rule in rules:
            end = self._rule(rule)
            if end is None:
                continue
            if end.kind == "goto":
                return self._chain(self._table.chains[str(end.argument)].rules)
            return end
        return None

    def _rule(self, rule: Rule) -> Statement | None:
        statements: list[Statement] = []
        for part in rule.parts:
            if isinstance(part, Statement):
                statements.append(part)
            elif not self._matches(part):
                return None
        self._rules.append(rule.text)
        return next((s for s in statements if self._done(s)), None)

    def _done(self, statement: Statement) -> bool:
        """Carry out a statement; True where it is a verdict."""
        if statement.kind == "mark" and self._packet.connection is not None:
            connection = replace(self._packet.connection, mark=int(statement.argument or 0))
            self._packet = replace(self._packet, connection=connection)
        elif statement.kind == "learn":
            self._learned.add(str(statement.argument))
        elif statement.kind == "redirect":
            self._redirected = int(statement.argument or 0)
            loopback = "::1" if ":" in self._packet.destination else "127.0.0.1"
            self._translate(loopback, self._redirected)
        return statement.kind not in ("mark", "learn", "counter")

    def _matches(self, part: Match | Flags) -> bool:
        if isinstance(part, Flags):
            hit = self._packet.protocol_number == PROTOCOLS["tcp"]
            return hit and ((self._packet.flags & part.mask == part.value) is not part.negated)
        value = _read(part.selector, self._packet)
        if value is None:  # nft stops the rule, negated or not
            return False
        operand = part.operand
        items = self._table.sets[operand.name] if isinstance(operand, SetName) else operand
        return any(_equal(value, item) for item in items) is not part.negated

    def _ended(self, end: Statement) -> Fate:
        if end.kind == "drop":
            return self._fate("dropped")
        if end.argument == "reset":
            return self._fate("reset")
        return self._fate("icmp", icmp=str(end.argument))

    def _fate(
        self, verdict: VerdictName, *, port: int | None = None, icmp: str | None = None
    ) -> Fate:
        connection = self._packet.connection
        mark = 0 if connection is None else connection.mark
        return Fate(verdict, port, icmp, mark, frozenset(self._learned), tuple(self._rules))


def _read(selector: str, packet: Packet) -> int | str | None:
    """What the packet holds at a selector; None where it has no such thing."""
    family, _, what = selector.partition(" ")
    if family == "ct":
        return _read_ct(what, packet.connection)
    if family in ("tcp", "udp", "sctp"):
        port = packet.dport if what == "dport" else packet.sport
        return port if packet.protocol_number == PROTOCOLS[family] else None
    ipv6 = ":" in packet.destination
    if family in ("icmp", "icmpv6"):
        ours = packet.protocol_number == PROTOCOLS[family] and ipv6 is (family == "icmpv6")
        return packet.icmp_type if ours else None
    if family in ("ip", "ip6"):
        asked = packet.source if what == "saddr" else packet.destination
        return asked if ipv6 is (family == "ip6") else None
    return _read_meta(selector, packet)


def _read_ct(what: str, connection: Connection | None) -> int | str | None:
    if connection is None:
        return "invalid" if what == "state" else None
    values = {
        "state": connection.state,
        "direction": connection.direction,
        "status": "dnat" if connection.dnat else "",
        "mark": connection.mark,
    }
    return values[what]


def _read_meta(selector: str, packet: Packet) -> int | str | None:
    incoming = packet.iif is not None and packet.oif is None
    values = {
        "meta l4proto": packet.protocol_number,
        "meta nfproto": "ipv6" if ":" in packet.destination else "ipv4",
        "meta skuid": packet.uid,
        "socket cgroupv2": packet.cgroup,
        "meta cgroup": packet.class_id,
        "socket transparent": packet.transparent,
        "oifname": packet.oif,
        "iifname": packet.iif,
        "oif": None if incoming else packet.ifindex,
        "iif": packet.ifindex if incoming else None,
    }
    return values[selector]


def _equal(value: int | str, item: Item) -> bool:
    if isinstance(item, tuple):
        return isinstance(value, int) and item[0] <= value <= item[1]
    if isinstance(item, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return ipaddress.ip_address(str(value)) in item
    if isinstance(value, int) and isinstance(item, str):
        if item not in PROTOCOLS:
            raise GrammarError(f"not a known protocol: {item}")
        return PROTOCOLS[item] == value
    return value == item
