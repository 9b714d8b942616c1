"""What the rules do with a connection that a program of the scope opens, packet by packet."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from ramnet.ruleset.grammar import Match, Statement, Table, parse_table
from ramnet.ruleset.trace import Fate, Packet, trace

_FAR: Final = {"IPv4": "192.0.2.1", "IPv6": "2001:db8::1"}
"""Stand for any address that is not near: the rules tell none of them from another."""
_MEMBERS: Final = "members_to_gate"
_ANSWERS: Final = {
    "accepted": "passes",
    "reset": "refused by a reset",
    "dropped": "refused without an answer",
}


class Step(NamedTuple):
    """One packet.

    Attributes:
        packet: what is sent, in words.
        family: ``IPv4`` or ``IPv6``.
        fate: what becomes of it, in words.
        rules: every rule that it met and that matched, in order.
    """

    packet: str
    family: str
    fate: str
    rules: tuple[str, ...]


def roads(text: str, port: int | None) -> Iterator[Step]:
    """The question for a name, then the connection, over TCP and as QUIC, IPv4 and IPv6.

    ``text``: the table as planned or as the kernel lists it, interfaces by number.
    Raises GrammarError where it cannot be read, as those of tier anyip.
    """
    table, port = parse_table(text), port or 443
    for words, protocol, number in (
        ("question to any DNS server", "udp", 53),
        (f"TCP to port {port}", "tcp", port),
        (f"UDP to port {port} (QUIC)", "udp", port),
    ):
        for family, address in _FAR.items():
            fate = trace(table, _packet(table, address, protocol, number))
            yield Step(words, family, _words(fate), fate.rules)


def _packet(table: Table, address: str, protocol: str, port: int) -> Packet:
    """Of a program of the scope: in its cgroup, where the scope is one."""
    for rule in (rule for chain in table.chains.values() for rule in chain.rules):
        who = rule.parts[0]
        if Statement("goto", _MEMBERS) not in rule.parts or not isinstance(who, Match):
            continue
        (item,) = who.operand if isinstance(who.operand, frozenset) else ("",)
        if who.selector == "meta cgroup" and isinstance(item, int):
            return Packet(address, protocol, port, class_id=item)
        return Packet(address, protocol, port, cgroup=str(item))
    return Packet(address, protocol, port)


def _words(fate: Fate) -> str:
    if fate.verdict == "redirected":
        return f"goes to the gate (port {fate.port}), which decides by name"
    if fate.verdict == "icmp":
        return f"refused by ICMP {fate.icmp}"
    return _ANSWERS[fate.verdict]
