"""Tier ``anyip``, for kernels without NAT: marks, policy routing and listeners for any address.

A route chain marks what is for the gate, a routing rule sends what is marked over a veth pair
into a network namespace of the gate's own, and there everything that arrives is local and meets
transparent sockets: ``getsockname`` of an accepted one is where the client was going
(facts/kernels.md, "Interception without NAT"). The listeners are in a namespace of their own and
not on ``lo``, so that no local service and no published port finds its port taken::

    output, route, priority -150                           chain steer
        the gate's own sockets, exemptions                  as they are
        TCP to a sinkhole, on the gate's ports              marked
        IPv4 to port 53 of this machine                     marked
        loopback and own addresses else                     as they are
        answers in inbound connections                      as they are
        UDP and TCP 53, TCP on the gate's ports             marked -> rerouted to the gate
    output, filter, priority 0, policy drop                chain output
        the gate's own sockets, exemptions                  accept
        the answer to what was refused, leaving             dropped
        what is marked                                      accept
        in inbound connections (marked on their way in)     accept, but nothing that opens one
        loopback, container networks by a bridge            accept
        ICMP errors, neighbour discovery, DHCP, IGMP, MLD,
        VXLAN made by the kernel                            accept
        TCP of no living socket, that opens nothing         accept
        the rest                                            reset or ICMP, or dropped
    input, filter, priority -150                           chain arriving
        all from a real interface                           marked as inbound
    prerouting, filter, priority -300                      chain returning
        all from the gate's namespace                       marked, for rp_filter's sake
    postrouting, filter, priority 300                      chain leaving
        what is marked, by any way but the gate's           dropped
        to 127/8, ::1 or a sinkhole by a real interface     dropped

Inbound connections are told without conntrack: ``tcp_fwmark_accept`` hands the mark of the SYN to
the socket and its SYN-ACK, ``fwmark_reflect`` that of any packet to the kernel's own answer. The
mark lets no SYN out, so a program that sets it by itself opens nothing with it.

Old connections to a port of the gate's are reset by the gate's namespace, which does not know
them; to others they are reset (or dropped) here. What remains: a socket that its owner has closed
may still send what it holds, since a closed socket of the gate's does the same and without
conntrack the two look alike. Connections to local services that are older are listed one by one.

A resolver on this machine is not asked either: what it asks need not leave as a packet of the
scope's (WSL 2 carries names to Windows by AF_VSOCK). The table of local addresses is asked before
our routing rule, so there is a second one before that, for IPv4; ::1 cannot be routed.

Nothing here needs sets, ct, counters or reject; each is used where it is there.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from ramnet.ruleset.names import SINKHOLE4, SINKHOLE6, TABLE
from ramnet.ruleset.notes import SYSCTLS, noted
from ramnet.ruleset.redirect import (
    ICMP_ERRORS,
    ICMPV6_NEEDED,
    TO_LOOPBACK,
    USER_SOCKET,
    base_chain,
    exempted,
    gate_match,
    old_inbound,
    plain_chain,
)
from ramnet.ruleset.situation import Situation
from ramnet.ruleset.state import Family, KernelState, Listener, PolicyRule, Route
from ramnet.ruleset.table import replace_table

GATE_MARK: Final = 0x52414D47
"""Mark of packets for the gate ("RAMG"); of one value, since nobody else's rules come before."""

INBOUND_MARK: Final = 0x2000
"""Mark of what arrives for this machine, and so of answers. One bit that neither Kubernetes
(0x4000, 0x8000), Tailscale (0xff0000), Cilium (0xf00) nor Calico (0xffff0000) looks at."""

REFUSED_MARK: Final = 0x52414D52
"""Mark of what is refused ("RAMR"), and so (``fwmark_reflect``) of the answer, which quotes it."""

DEVICE: Final = "ramnet0"
ROUTE_TABLE: Final = 60927
RULE_PRIORITY: Final = 92
"""Before every rule that a VPN makes, behind the table of local addresses (0)."""

_OPENS: Final = "tcp flags & (syn | ack) == syn"
_OPENS_NOT: Final = "tcp flags & syn == 0"
"""No SYN-ACK either: with IPV6_FREEBIND anybody may bind an address of the far end's, connect to
ourselves from it, and have the answer leave. Answers to real inbound connections are marked."""


def plan(situation: Situation) -> KernelState:
    """The whole state of the namespace; the listeners' ports are ``situation.intercepted``."""
    families = _families(situation)
    tables = _tables(situation)
    text = "".join(replace_table(situation, body, family=family) for family, body in tables)
    return KernelState(
        tables=tuple((family, TABLE) for family, _ in tables),
        text=text,
        routes=_routes(families),
        rules=_rules(families),
        sysctls=tuple((key, 1) for key in SYSCTLS),
        listeners=listeners(situation.intercepted, families),
        device=DEVICE,
    )


def all_of_it() -> KernelState:
    """What is to be taken away, whatever the capabilities were: no text, no listeners."""
    return KernelState(
        tables=tuple((family, TABLE) for family in ("inet", "ip", "ip6")),
        text="",
        routes=_routes((4, 6)),
        rules=_rules((4, 6)),
    )


def without_gate(situation: Situation) -> str:
    """Change the rules of ``plan`` so that all is refused at once: the gate is going away.

    Without the way to it, what is marked would be dropped in silence.
    """
    families = ["inet"]
    if not situation.capabilities.route_chain:
        families = ["ip" if family == 4 else "ip6" for family in _families(situation)]
    return "".join(f"flush chain {family} {TABLE} steer\n" for family in families)


def listeners(ports: Iterable[int], families: Iterable[Family]) -> tuple[Listener, ...]:
    """The gate's sockets for these TCP ports, and for DNS."""
    made: list[Listener] = []
    for family in families:
        made.append(Listener("dns-udp", family, "udp", 53))
        made.append(Listener("dns-tcp", family, "tcp", 53))
        made.extend(Listener("transparent", family, "tcp", port) for port in sorted(ports))
    return tuple(made)


def _families(situation: Situation) -> tuple[Family, ...]:
    return (4, 6) if situation.capabilities.policy_routing6 else (4,)


def _routes(families: tuple[Family, ...]) -> tuple[Route, ...]:
    """Behind the way to the gate "unreachable", so that without the way nothing leaves."""
    ways = ((DEVICE, 1), (None, 1000))
    return tuple(Route(f, ROUTE_TABLE, device, metric) for f in families for device, metric in ways)


def _rules(families: tuple[Family, ...]) -> tuple[PolicyRule, ...]:
    local = PolicyRule(4, GATE_MARK, ROUTE_TABLE, 0, first=True)
    return (local, *(PolicyRule(f, GATE_MARK, ROUTE_TABLE, RULE_PRIORITY) for f in families))


def _tables(situation: Situation) -> list[tuple[str, list[str]]]:
    route = ("route", "output", -150, "accept")
    rest = [
        *base_chain("output", "filter", "output", 0, "drop", _output(situation)),
        *plain_chain("refuse", _refuse(situation)),
        *base_chain("arriving", "filter", "input", -150, "accept", _arriving(situation)),
        *base_chain("returning", "filter", "prerouting", -300, "accept", _returning()),
        *base_chain("leaving", "filter", "postrouting", 300, "accept", _leaving(situation)),
        *plain_chain("leaving6", _leaving6(situation)),
        *plain_chain("marked", _marked(situation)),
    ]
    rest.extend(noted(situation.sysctls_before))
    if situation.capabilities.route_chain:
        return [
            ("inet", [*base_chain("steer", *route, _steer(situation, _families(situation))), *rest])
        ]
    split: list[tuple[str, list[str]]] = [("inet", rest)]
    for family in _families(situation):
        name = "ip" if family == 4 else "ip6"
        split.append((name, list(base_chain("steer", *route, _steer(situation, (family,), name)))))
    return split


def _steer(
    situation: Situation, families: tuple[Family, ...], table: str = "inet"
) -> Iterator[str]:
    """``families``: those that have policy routing; the others are refused later on."""
    mark = f"meta mark set {GATE_MARK:#x} accept"
    yield f"{gate_match(situation.gate)} accept"
    for exemption in situation.exemptions:
        other = {"ip": ":", "ip6": "."}.get(table, "-")
        if exemption.address is None or other not in exemption.address:
            yield f"{exempted(exemption)} accept"
    for family, sinkhole in ((4, f"ip daddr {SINKHOLE4}"), (6, f"ip6 daddr {SINKHOLE6}")):
        if family in families:
            for ports in _each(situation, sorted(situation.intercepted)):
                yield f"{sinkhole} tcp dport {ports} {mark}"
    if 4 in families:
        ipv4 = "meta nfproto ipv4 " if table == "inet" else ""
        for protocol in ("udp", "tcp"):
            yield f'oifname "lo" {ipv4}{protocol} dport 53 {mark}'
    yield 'oifname "lo" accept'
    yield f"meta mark {INBOUND_MARK:#x} accept"
    of = {"ip": (4,), "ip6": (6,)}.get(table, (4, 6))
    yield from (f"{each} accept" for each in old_inbound(situation, of))
    only = "meta nfproto ipv4 " if table == "inet" and 6 not in families else ""
    yield f"{only}udp dport 53 {mark}"
    for ports in _each(situation, sorted({53, *situation.intercepted})):
        yield f"{only}tcp dport {ports} {mark}"


def _output(situation: Situation) -> Iterator[str]:
    low, high = situation.ephemeral
    for excepted in (gate_match(situation.gate), *map(exempted, situation.exemptions)):
        yield f"{excepted} accept"
    # With IPV6_FREEBIND anybody may send from an address of the far end's; a refusal stays here.
    yield f'oifname != "lo" meta mark {REFUSED_MARK:#x} drop'
    yield f"meta mark {GATE_MARK:#x} accept"
    yield f"ip daddr {SINKHOLE4} goto refuse"
    yield f"ip6 daddr {SINKHOLE6} goto refuse"
    yield 'oifname "lo" accept'
    inbound = f"meta mark {INBOUND_MARK:#x}"
    yield f"{inbound} {_OPENS} goto refuse"
    yield f"{inbound} meta l4proto tcp accept"
    yield f"{inbound} {USER_SOCKET} goto refuse"
    yield f"{inbound} accept"
    yield from (f"{each} accept" for each in old_inbound(situation, (4, 6)))
    if _tells_inbound_udp(situation):
        # Where conntrack began in the middle of one, it may hold the far end for the opener.
        for ports in _each(situation, sorted(situation.old_udp)):
            yield f"udp sport {ports} goto refuse"
        answers = f"ct direction reply ct mark {INBOUND_MARK:#x}"
        yield f"udp sport != {low}-{high} {answers} accept"
    yield from _near(situation)
    for types in _each(situation, ICMP_ERRORS.split(", ")):
        yield f"icmp type {types} accept"
    for types in _each(situation, ICMPV6_NEEDED.split(", ")):
        yield f"icmpv6 type {types} accept"
    yield "meta nfproto ipv4 meta l4proto igmp accept"
    yield "ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept"
    yield "ip6 daddr ff02::1:2 udp sport 546 udp dport 547 accept"
    yield f"meta l4proto udp {USER_SOCKET} goto refuse"
    yield "udp dport 4789 accept"
    # Sockets that their owner has closed go on sending, the gate's among them.
    yield f"meta l4proto tcp {USER_SOCKET} goto refuse"
    yield f"{_OPENS_NOT} accept"
    yield "goto refuse"


def _near(situation: Situation) -> Iterator[str]:
    """By the interface too: a socket bound to the uplink sends container addresses there."""
    networks = (("ip", situation.containers4), ("ip6", situation.containers6))
    for bridge in _each(situation, sorted(situation.bridges)):
        for family, found in networks:
            for network in _each(situation, sorted(found)):
                to = f"oif {bridge} {family} daddr {network}"
                for port in (443, 853):
                    yield f"{to} udp dport {port} goto refuse"
                yield f"{to} accept"


def _refuse(situation: Situation) -> Iterator[str]:
    count = "counter " if situation.capabilities.counter else ""
    yield f"meta mark set {REFUSED_MARK:#x}"
    for what, how in (
        ("meta l4proto tcp ", "reject with tcp reset"),
        ("meta l4proto udp ", "reject with icmpx type port-unreachable"),
        ("", "reject with icmpx type admin-prohibited"),
    ):
        yield f"{what}{count}{how if situation.capabilities.reject else 'drop'}"


def _arriving(situation: Situation) -> Iterator[str]:
    yield 'iifname "lo" accept'
    yield f'iifname "{DEVICE}" accept'
    if _tells_inbound_udp(situation):
        yield f"meta l4proto udp ct state new ct mark set {INBOUND_MARK:#x}"
    yield f"meta mark set {INBOUND_MARK:#x}"


def _returning() -> Iterator[str]:
    yield f'iifname "{DEVICE}" meta mark set {GATE_MARK:#x}'


def _marked(situation: Situation) -> Iterator[str]:
    yield f'oifname "{DEVICE}" accept'
    yield _stop(situation)


def _stop(situation: Situation) -> str:
    return "counter drop" if situation.capabilities.counter else "drop"


def _leaving(situation: Situation) -> Iterator[str]:
    stop = _stop(situation)
    yield TO_LOOPBACK
    yield f"meta mark {GATE_MARK:#x} goto marked"
    yield "meta nfproto ipv6 goto leaving6"
    yield f"ip daddr 127.0.0.0/8 {stop}"
    yield f"ip daddr {SINKHOLE4} {stop}"


def _leaving6(situation: Situation) -> Iterator[str]:
    yield f"ip6 daddr ::1 {_stop(situation)}"
    yield f"ip6 daddr {SINKHOLE6} {_stop(situation)}"


def _tells_inbound_udp(situation: Situation) -> bool:
    """Datagrams carry no mark from socket to socket; conntrack knows who asked first."""
    return situation.capabilities.ct and situation.capabilities.ct_mark


def _each(situation: Situation, values: Iterable[int | str]) -> Iterator[str]:
    """One set of all, where the kernel has sets; else one after the other."""
    texts = list(map(str, values))
    if situation.capabilities.sets and len(texts) > 1:
        yield f"{{ {', '.join(texts)} }}"
    else:
        yield from texts
