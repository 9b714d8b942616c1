"""The table that sends containers' own traffic through the gate, where a scope asks for it.

A table of its own beside the scope's, ``inet ramnetcover_<scope>``, so that ``hold`` takes the
scope's place and leaves this one: what comes to a port where nobody listens is refused. It needs
what tier ``redirect`` needs; tier ``anyip`` has no cover (no NAT to send forwarded packets by, and
Docker's own NAT would hide who asked)::

    prerouting, nat, priority -101 (before Docker's)       chain arriving
        by a bridge that is covered as a whole              -> to_gate
        by a watched bridge, from an address that is not
        another container's                                 -> to_gate
                                                            chain to_gate
        UDP and TCP 53, wherever to                         -> the gate's resolver
        TCP: own addresses, container networks              as they are
        TCP: everything else                                -> the gate's proxy
    forward, filter, priority 0                            chain forward
        the same packets                                    -> covered
        to them: a connection that begins                   marked as inbound
                                                            chain covered
        replies in connections marked as inbound            accept
        to container networks by a bridge                   accept
        the rest, older connections among it                reset or ICMP
    input, filter, priority 0                              chain input
        from them, connections that they opened             marked as such
        the gate's ports, but for what was redirected       reset or ICMP
    postrouting, filter, priority 99 (before SNAT)         chain leaving
        answers in connections marked as from them, by any
        interface but a bridge                              dropped
        the same packets by any interface but a bridge      dropped

*Who is covered* is told the other way round. On a bridge with a covered container (``watched``)
everything is, but for the addresses that Docker says are other containers' (``others``). So a new
container is covered before Docker has told of it, and an address that a container gives itself
opens nothing unless it is one of ``others``. What an ordinary container sends from an address that
Docker does not know (a router, a VPN) comes to the gate there as well.

*A lease.* Docker may give the address of one of ``others`` to a new container as soon as the old
one is gone. So each is for ``LEASE`` seconds, and anew whenever Docker has been asked: where nobody
asks (the service is dead or stopped, Docker does not answer) the kernel itself forgets them, and
all on a watched bridge is covered. The kernel counts in jiffies, which no clock's jump moves. A
service that starts gives them what is left of their time, not the whole of it again.

*Names* of bridges, not indexes: a bridge that is made anew under its name is covered from its
first packet on.

*Near.* What goes to another container or to this machine goes Docker's way: sent through the gate
it would pass by Docker's isolation of networks and by the machine's own input rules. So a proxy in
a container that is not covered is a way round (caveat ``local-forwarders``).

*Answers.* A container may send from an address of the far end's (no reverse path filter is strict
by default), and would have our answer leave for there: an echo with all that was sent, the gate's
answer to a question. What it opened to this machine is marked, and answered by a bridge alone. Left
is what the kernel itself says before any rule has seen where a packet is to go: that its time is
over, or that it is too long for the uplink, about once a second (icmp_ratelimit), quoting it. A
rule in prerouting could drop such packets where they come from no container network; IPv6 options
that the kernel does not know are answered before that hook (ipv6_rcv), so the door would stay.

*Inbound.* conntrack may have met an old connection in the middle and hold the far end for the
opener, so an answer counts as one only where the connection was marked when it began.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ramnet.ruleset import redirect
from ramnet.ruleset.names import SINKHOLE4, SINKHOLE6, TABLE
from ramnet.ruleset.situation import Ports, Situation
from ramnet.ruleset.table import replace_table

INBOUND_MARK: Final = 0x52414D49
"""ct mark of connections that others opened to a covered container ("RAMI")."""

HERE_MARK: Final = 0x52414D48
"""ct mark of connections that covered containers opened to this machine ("RAMH")."""

LEASE: Final = 10.0
"""Seconds for which an address is another's without Docker's being asked again; long enough for a
machine that is busy, since connections of others end when it is over."""

_GROUPS: Final = (("ip", "{ 224.0.0.0/4, 255.255.255.255 }"), ("ip6", "{ fe80::/10, ff00::/8 }"))
"""Stays on the bridge: broadcasts, multicast, IPv6 link-local addresses."""
_FAMILIES: Final = (("ip", "4"), ("ip6", "6"))


@dataclass(frozen=True, slots=True)
class Covered:
    """Whose forwarded traffic is for the gate, in the kernel's terms.

    Attributes:
        whole: bridges covered as they are, by name.
        watched: bridges with a covered container, by name.
        others: addresses, on watched bridges, of containers that are not covered.
        lease: seconds for which ``others`` are that.
    """

    whole: frozenset[str] = frozenset()
    watched: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    lease: float = LEASE


def cover_table(scope: str) -> str:
    """The name of the table that covers containers for this scope; no scope's own has such one."""
    return f"{TABLE}cover_{scope.replace('-', '_')}"


def render_table(
    table: str, situation: Situation, ports: Ports, covered: Covered, own: frozenset[str]
) -> str:
    """The whole desired state, replacing whatever table of that name is there.

    Args:
        situation: of the scope's namespace; its bridges and container networks are used.
        ports: where the gate listens on any address, for this alone.
        own: addresses of this machine.
    """
    body = [
        *sets(situation, covered, own),
        *redirect.base_chain("arriving", "nat", "prerouting", -101, "accept", _from("to_gate")),
        *redirect.plain_chain("to_gate", _to_gate(ports)),
        *redirect.base_chain("forward", "filter", "forward", 0, "accept", _forward()),
        *redirect.plain_chain("inbound", _inbound()),
        *redirect.plain_chain("covered", _covered()),
        *redirect.base_chain("input", "filter", "input", 0, "accept", _input(ports)),
        *redirect.plain_chain("gate_only", _gate_only()),
        *redirect.plain_chain("refuse", redirect.refuse()),
        *redirect.base_chain("leaving", "filter", "postrouting", 99, "accept", _leaving()),
        *redirect.plain_chain("guard", _guard()),
    ]
    return replace_table(situation, body, table)


def sets(situation: Situation, covered: Covered, own: frozenset[str]) -> Iterator[str]:
    """The sets that the rules ask, each with what it holds."""
    for name, kind, elements in contents(situation, covered, own):
        yield from redirect.set_of(name, kind, elements)


def contents(
    situation: Situation, covered: Covered, own: frozenset[str]
) -> Iterator[tuple[str, str, list[str]]]:
    """Name, type and elements of each set."""
    for name, bridges in (("whole", covered.whole), ("watched", covered.watched)):
        yield name, "type ifname;", [f'"{bridge}"' for bridge in sorted(bridges)]
    for version in "46":
        others = [f"{a} timeout {covered.lease * 1000:.0f}ms" for a in _of(version, covered.others)]
        yield f"others{version}", f"type ipv{version}_addr; flags timeout;", others
        yield f"own{version}", f"type ipv{version}_addr;", _of(version, own)
    yield "bridges", "type iface_index;", list(map(str, sorted(situation.bridges)))
    yield "containers4", "type ipv4_addr; flags interval;", sorted(situation.containers4)
    yield "containers6", "type ipv6_addr; flags interval;", sorted(situation.containers6)


def _of(version: str, addresses: Iterable[str]) -> list[str]:
    return sorted(a for a in addresses if (":" in a) is (version == "6"))


def _from(chain: str) -> Iterator[str]:
    """Packets of whoever is covered."""
    yield f"iifname @whole goto {chain}"
    for family, version in _FAMILIES:
        yield f"iifname @watched {family} saddr != @others{version} goto {chain}"


def _to_gate(ports: Ports) -> Iterator[str]:
    yield f"udp dport 53 redirect to :{ports.resolver}"
    yield f"tcp dport 53 redirect to :{ports.resolver}"
    # NAT would take a connection in mid-stream for a new one.
    yield f"{redirect.IN_MIDSTREAM} accept"
    yield f"ip daddr {SINKHOLE4} meta l4proto tcp redirect to :{ports.proxy}"
    yield f"ip6 daddr {SINKHOLE6} meta l4proto tcp redirect to :{ports.proxy}"
    for near in ("own", "containers"):
        yield from (f"{family} daddr @{near}{version} accept" for family, version in _FAMILIES)
    yield from (f"{family} daddr {group} accept" for family, group in _GROUPS)
    yield "tcp dport 853 accept"
    yield f"meta l4proto tcp redirect to :{ports.proxy}"


def _forward() -> Iterator[str]:
    yield from _from("covered")
    yield "oifname @whole goto inbound"
    for family, version in _FAMILIES:
        yield f"oifname @watched {family} daddr != @others{version} goto inbound"


def _inbound() -> Iterator[str]:
    yield f"{redirect.IN_MIDSTREAM} accept"
    yield f"ct state new ct mark 0x0 ct mark set {INBOUND_MARK:#x}"


def _replies() -> str:
    return f"ct direction reply ct mark {INBOUND_MARK:#x} accept"


def _covered() -> Iterator[str]:
    yield _replies()
    for family, version in _FAMILIES:
        yield f"oif @bridges {family} daddr @containers{version} accept"
    yield from (f"oif @bridges {family} daddr {group} accept" for family, group in _GROUPS)
    yield "goto refuse"


def _input(ports: Ports) -> Iterator[str]:
    # Whoever sends from an address of the far end's has our answer, with what was said, go there.
    here = f"ct direction original ct mark 0x0 ct mark set {HERE_MARK:#x}"
    yield f"iifname @whole {here}"
    for family, version in _FAMILIES:
        yield f"iifname @watched {family} saddr != @others{version} {here}"
    yield f"tcp dport {{ {ports.resolver}, {ports.proxy} }} goto gate_only"
    yield f"udp dport {ports.resolver} goto gate_only"


def _gate_only() -> Iterator[str]:
    """The listeners are open on every address; they are for what was redirected here alone."""
    yield "ct status dnat iifname @whole accept"
    yield "ct status dnat iifname @watched accept"
    yield "goto refuse"


def _leaving() -> Iterator[str]:
    away = "oif != @bridges oifname != @whole oifname != @watched"
    yield f"ct direction reply ct mark {HERE_MARK:#x} {away} counter drop"
    yield from _from("guard")


def _guard() -> Iterator[str]:
    yield _replies()
    yield "oif @bridges accept"
    yield "counter drop"


def changes(
    table: str,
    before: Iterable[tuple[str, str, list[str]]],
    after: Iterable[tuple[str, str, list[str]]],
    *,
    renewed: bool,
) -> str:
    """What brings the sets from one content to the other, in one transaction; empty if nothing.

    A lease begins anew by it, whether or not whose it is has changed.
    """
    held = {name: elements for name, _, elements in before}
    return "".join(
        redirect.render_elements(name, elements, table)
        for name, kind, elements in after
        if held.get(name) != elements or (elements and renewed and "timeout" in kind)
    )
