"""The table of tier ``redirect``, as text that libnftables takes in one transaction."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ramnet.ruleset.names import CUT_MARK as CUT_MARK
from ramnet.ruleset.names import LOCAL_MARK as LOCAL_MARK
from ramnet.ruleset.names import OWN_MARK as OWN_MARK
from ramnet.ruleset.names import SINKHOLE4, SINKHOLE6, TABLE
from ramnet.ruleset.situation import Exemption, GateIdentity, Inbound, Situation
from ramnet.ruleset.table import replace_table

USER_SOCKET: Final = "meta skuid 0-4294967294"
"""Matches any packet of a socket that some process holds, and none that the kernel made."""
_KERNEL_SERVED_UDP: Final = (68, 546, 4789)
"""Inbound DHCP and VXLAN, should the ephemeral range be wide enough to hold them."""

MOST_INBOUND: Final = 256
"""Each old connection to a service is a rule of its own; those beyond are cut."""
_OLD_INBOUND: Final = re.compile(r"ip6? daddr (\S+) tcp sport (\d+) tcp dport (\d+) tcp flags")

TO_LOOPBACK: Final = "oif 1 accept"
"""In a chain that forwarded packets pass; the interface `lo` is the first of every namespace."""
_STOP: Final = "counter drop"

IN_MIDSTREAM = "tcp flags & (fin | syn | rst | ack) != syn"
ICMP_ERRORS = "destination-unreachable, time-exceeded, parameter-problem"
ICMPV6_NEEDED = (
    "destination-unreachable, packet-too-big, time-exceeded, parameter-problem, "
    "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, "
    "mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report"
)


def render_table(situation: Situation) -> str:
    """The whole desired state; replacing whatever table of ours is there."""
    body = [
        *sets(situation),
        *base_chain("to_gate", "nat", "output", -101, "accept", _to_gate(situation)),
        *base_chain("output", "filter", "output", 0, "drop", _output(situation)),
        *plain_chain("gate", _gate()),
        *plain_chain("led_back", _led_back(situation)),
        *plain_chain("owned", _owned()),
        *plain_chain("replies", _replies()),
        *plain_chain("redirected", [mark_local(), *redirected(situation)]),
        *plain_chain("refuse", refuse()),
        *base_chain("input", "filter", "input", 0, "accept", _input(situation)),
        *base_chain("leaving", "filter", "postrouting", 300, "accept", _leaving()),
        *plain_chain("leaving6", _leaving6()),
        *plain_chain("translated", _translated()),
    ]
    return replace_table(situation, body)


def render_elements(name: str, elements: Iterable[str], table: str = TABLE) -> str:
    """Replace what a set holds, in one transaction."""
    listed = ", ".join(elements)
    add = f"add element inet {table} {name} {{ {listed} }}\n" if listed else ""
    return f"flush set inet {table} {name}\n{add}"


def render_changes(name: str, gone: Iterable[str], come: Iterable[str], table: str = TABLE) -> str:
    """The same where few of many elements change; refused whole if one of ``gone`` is not there."""
    steps = (("delete", ", ".join(gone)), ("add", ", ".join(come)))
    return "".join(
        f"{step} element inet {table} {name} {{ {listed} }}\n" for step, listed in steps if listed
    )


def sets(situation: Situation) -> Iterator[str]:
    """The sets that the rules ask."""
    for name in ("listening", "old_tcp", "old_udp"):
        ports: frozenset[int] = getattr(situation, name)
        yield from set_of(name, "type inet_service;", map(str, ports))
    if situation.capabilities.dynamic_sets:
        yield from set_of("published", "type inet_service; size 65535; flags dynamic,timeout;", ())
    yield from set_of("bridges", "type iface_index;", map(str, sorted(situation.bridges)))
    yield from set_of("containers4", "type ipv4_addr; flags interval;", situation.containers4)
    yield from set_of("containers6", "type ipv6_addr; flags interval;", situation.containers6)


def set_of(name: str, kind: str, elements: Iterable[str]) -> Iterator[str]:
    """A named set and what it holds, as a line of a table."""
    listed = ", ".join(sorted(elements, key=_natural))
    holds = f" elements = {{ {listed} }}" if listed else ""
    yield f"set {name} {{ {kind}{holds} }}"


def _natural(text: str) -> tuple[int, str]:
    return (len(text), text) if text.isdigit() else (0, text)


def base_chain(
    name: str, kind: str, hook: str, priority: int, policy: str, rules: Iterable[str]
) -> Iterator[str]:
    """A chain at a hook of netfilter."""
    head = f"type {kind} hook {hook} priority {priority}; policy {policy};"
    yield from plain_chain(name, [head, *rules])


def plain_chain(name: str, rules: Iterable[str]) -> Iterator[str]:
    """A chain that others go to."""
    yield f"chain {name} {{"
    for rule in rules:
        yield f"\t{rule}"
    yield "}"


def _to_gate(situation: Situation) -> Iterator[str]:
    ports = situation.ports
    yield f"{gate_match(situation.gate)} accept"
    for exemption in filter(would_be_redirected, situation.exemptions):
        yield f"{exempted(exemption)} accept"
    yield f"udp dport 53 redirect to :{ports.resolver}"
    yield f"tcp dport 53 redirect to :{ports.resolver}"
    # NAT would take a connection in mid-stream for a new one.
    yield f"{IN_MIDSTREAM} accept"
    yield f"ip daddr {SINKHOLE4} meta l4proto tcp redirect to :{ports.proxy}"
    yield f"ip6 daddr {SINKHOLE6} meta l4proto tcp redirect to :{ports.proxy}"
    published = " tcp dport != @published" if situation.capabilities.dynamic_sets else ""
    yield f'oifname "lo" tcp dport != @listening{published} accept'
    yield 'oifname != "lo" tcp dport 853 accept'
    yield f"meta l4proto tcp redirect to :{ports.proxy}"


def _output(situation: Situation) -> Iterator[str]:
    # What there is most of comes first, and nothing is asked twice of one packet.
    yield 'ct direction reply oifname "lo" accept'
    yield f"{gate_match(situation.gate)} goto gate"
    yield from _exempted(situation)
    # The reset that answers goes by loopback and carries the same mark.
    yield f'ct mark {CUT_MARK:#x} oifname != "lo" goto refuse'
    yield "ct direction reply goto replies"
    # Closed sockets of ours go on sending (what was not sent yet, the last acknowledgement) and
    # have no owner any more; another's socket on the same addresses and ports has one.
    yield f"ct mark {OWN_MARK:#x} {USER_SOCKET} goto refuse"
    yield f"ct mark {OWN_MARK:#x} accept"
    yield "ct status dnat goto redirected"
    yield f"ip daddr {SINKHOLE4} goto refuse"
    yield f"ip6 daddr {SINKHOLE6} goto refuse"
    yield f'oifname "lo" ct direction original {mark_local()}'
    yield 'oifname "lo" accept'
    yield from inbound_services(situation)
    yield from near_containers()
    yield f"icmp type {{ {ICMP_ERRORS} }} accept"
    yield f"icmpv6 type {{ {ICMPV6_NEEDED} }} accept"
    yield "meta nfproto ipv4 meta l4proto igmp accept"
    yield "ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept"
    yield "ip6 daddr ff02::1:2 udp sport 546 udp dport 547 accept"
    yield f"udp dport 4789 {USER_SOCKET} goto refuse"
    yield "udp dport 4789 accept"
    yield "goto refuse"


def _gate() -> Iterator[str]:
    yield "ct direction original ct status dnat goto led_back"
    yield "goto owned"


def _led_back(situation: Situation) -> Iterator[str]:
    """NAT of a client's earlier connection also takes a later one of the gate's from the same port
    to the same server, and the gate would ask itself."""
    yield from (f"{ours} goto refuse" for ours in listeners(situation))
    yield "goto owned"


def _owned() -> Iterator[str]:
    """Remember who opened a connection; a mark that another tool has set is left alone."""
    yield f"ct direction original ct mark 0x0 ct mark set {OWN_MARK:#x}"
    yield "accept"


def _exempted(situation: Situation) -> Iterator[str]:
    """Those that name an owner first: their connections are marked, whatever else fits them."""
    for exemption in situation.exemptions:
        if _has_owner(exemption):
            yield f"{exempted(exemption)} goto owned"
    for exemption in situation.exemptions:
        if not _has_owner(exemption):
            yield f"{exempted(exemption)} accept"


def _has_owner(exemption: Exemption) -> bool:
    return exemption.uid is not None or exemption.cgroup is not None


def _replies() -> Iterator[str]:
    """Answers that do not stay here."""
    # Where conntrack began in the middle of one, it may hold the far end for the opener.
    yield "tcp sport @old_tcp tcp sport != @listening goto refuse"
    yield "udp sport @old_udp goto refuse"
    # IPV6_FREEBIND asks for no privilege: who opened a connection to ourselves from an address of
    # the far end's would get out as its answer.
    yield f"ct mark {LOCAL_MARK:#x} goto refuse"
    yield "accept"


def inbound_services(situation: Situation) -> Iterator[str]:
    """Old connections to local services, of which conntrack saw an answer first.

    Each by its far end: anybody may have a socket on a service's port at another address, and
    what the gate has answered is unknown to conntrack once it has waited long enough.
    """
    yield from (f"{each} accept" for each in old_inbound(situation, (4, 6)))


def old_inbound(situation: Situation, families: tuple[int, ...]) -> Iterator[str]:
    """The match of each connection to a local service that was there before the rules."""
    for old in sorted(situation.inbound)[:MOST_INBOUND]:
        family = 6 if ":" in old.address else 4
        if family in families:
            to = f"{'ip6' if family == 6 else 'ip'} daddr {old.address}"
            yield f"{to} tcp sport {old.port} tcp dport {old.far_port} tcp flags & syn == 0"


def read_inbound(table: str) -> frozenset[Inbound]:
    """The connections that ``old_inbound`` wrote into the text, or listing, of a table."""
    found = _OLD_INBOUND.findall(table)
    return frozenset(Inbound(int(port), address, int(far)) for address, port, far in found)


def near_containers() -> Iterator[str]:
    """To containers, TCP aside; by a bridge, since a socket bound to the uplink sends there."""
    for near in ("ip daddr @containers4", "ip6 daddr @containers6"):
        yield f"oif @bridges {near} udp dport != {{ 443, 853 }} accept"
        yield f"oif @bridges {near} meta l4proto != {{ tcp, udp }} accept"


def mark_local() -> str:
    """Remember that this machine opened it; what answers never comes here."""
    return f"ct mark 0x0 ct mark set {LOCAL_MARK:#x}"


def redirected(situation: Situation) -> Iterator[str]:
    """What some NAT has given another destination: only to the gate, or to a container."""
    for ours in listeners(situation):
        yield f"{ours} accept"
    for family, networks in (("ip", "@containers4"), ("ip6", "@containers6")):
        to = f"{family} daddr {networks} meta l4proto"
        if situation.capabilities.dynamic_sets:
            learn = "add @published { ct original proto-dst timeout 1d }"
            yield f"{to} tcp ct state new {learn} drop"
        yield f"{to} != tcp accept"
    yield "goto refuse"


def listeners(situation: Situation) -> Iterator[str]:
    """Packets to the gate's own sockets."""
    resolver, proxy = situation.ports.resolver, situation.ports.proxy
    for loopback in ("ip daddr 127.0.0.1", "ip6 daddr ::1"):
        yield f"{loopback} tcp dport {{ {resolver}, {proxy} }}"
        yield f"{loopback} udp dport {resolver}"


def refuse() -> Iterator[str]:
    """Say no: a reset, or an ICMP error, to who is here.

    With IPV6_FREEBIND anybody may send from an address of the far end's, and would have our answer,
    which quotes what was sent, leave for there; it belongs to the connection that is marked.
    """
    yield f"ct mark 0x0 ct mark set {CUT_MARK:#x}"
    yield "meta l4proto tcp counter reject with tcp reset"
    yield "meta l4proto udp counter reject with icmpx type port-unreachable"
    yield "counter reject with icmpx type admin-prohibited"


def _input(situation: Situation) -> Iterator[str]:
    low, high = situation.ephemeral
    yield "ct state != new accept"
    yield 'iifname "lo" accept'
    inbound = sorted(p for p in situation.listening if not low <= p <= high)
    other = f"tcp dport != {{ {', '.join(map(str, inbound))} }} " if inbound else ""
    yield f"{IN_MIDSTREAM} {other}ct mark set {CUT_MARK:#x}"
    exempted = (e.port for e in situation.exemptions if e.proto == "udp" and e.port is not None)
    served = sorted({p for p in (*_KERNEL_SERVED_UDP, *exempted) if low <= p <= high})
    if served:
        yield f"udp dport {{ {', '.join(map(str, served))} }} accept"
    yield f"iif != @bridges udp dport {low}-{high} drop"


def _leaving() -> Iterator[str]:
    """What containers send meets this and nothing else of ours: a lookup in a set of two networks
    costs three times what two comparisons do, a name of an interface twice its number."""
    yield TO_LOOPBACK
    yield "meta nfproto ipv6 goto leaving6"
    yield f"ip daddr 127.0.0.0/8 {_STOP}"
    yield f"ip daddr {SINKHOLE4} {_STOP}"
    yield "ct status dnat goto translated"


def _leaving6() -> Iterator[str]:
    yield f"ip6 daddr ::1 {_STOP}"
    yield f"ip6 daddr {SINKHOLE6} {_STOP}"
    yield "ct status dnat goto translated"


def _translated() -> Iterator[str]:
    """A socket bound to the uplink takes there what Docker's NAT sent to a container."""
    for near in ("ip daddr @containers4", "ip6 daddr @containers6"):
        yield f"oif != @bridges {near} {_STOP}"


def would_be_redirected(exemption: Exemption) -> bool:
    """Whether the exemption speaks of anything that goes to the gate."""
    if exemption.proto == "udp":
        return exemption.port in (None, 53)
    return exemption.proto in (None, "tcp")


def gate_match(gate: GateIdentity) -> str:
    return " ".join([f"meta skuid {gate.uid}", *_cgroup(gate.cgroup, gate.cgroup_level)])


def _cgroup(path: str | None, level: int) -> Iterator[str]:
    if path is not None:
        yield f'socket cgroupv2 level {level} "{path}"'


def exempted(exemption: Exemption) -> str:
    """The match of an exemption."""
    parts = [] if exemption.uid is None else [f"meta skuid {exemption.uid}"]
    parts.extend(_cgroup(exemption.cgroup, exemption.cgroup_level))
    if exemption.address is not None:
        family = "ip6" if ":" in exemption.address else "ip"
        parts.append(f"{family} daddr {exemption.address}")
    if exemption.proto is not None:
        parts.append(_exempted_proto(exemption.proto, exemption.port))
    return " ".join(parts)


def _exempted_proto(proto: str, port: int | None) -> str:
    return f"meta l4proto {proto}" if port is None else f"{proto} dport {port}"
