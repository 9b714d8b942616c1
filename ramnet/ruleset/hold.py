"""The table of ``ramnet hold``: until ``run`` replaces it, nothing of the scope leaves.

It names nobody: neither a gate nor an exemption, so nothing has to be there yet. Processes get a
reset or an ICMP error; what passes is what harms a machine if it does not: loopback, replies to
inbound connections, ICMP errors, neighbour discovery, DHCP, IGMP and MLD, VXLAN made by the
kernel. Forwarded traffic, containers' own among it, passes no output chain.

``render_texts`` gives several tables, the best one first; the kernel takes the first that it
can. Without ``ct`` a reply is told by its ports and flags: a bare SYN never leaves, and other
segments leave from ports that are no client's; replies over UDP are refused. Without ``reject``
packets are dropped. Nothing is written as a set where there are none.

A hold for a cgroup refuses loopback as well, since a program outside that cgroup is a way out.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ramnet.ruleset.names import CUT_MARK, LOCAL_MARK, SINKHOLE4, SINKHOLE6, TABLE
from ramnet.ruleset.notes import Sysctls, noted

MARK_OF_HOLD: Final = "chain held {"
"""A line that no other table of ours has."""

_USER_SOCKET: Final = "meta skuid 0-4294967294"
_IN_MIDSTREAM: Final = "tcp flags & (fin | syn | rst | ack) != syn"
_BARE_SYN: Final = "tcp flags & (fin | syn | rst | ack) == syn"
_ICMP: Final = ("destination-unreachable", "time-exceeded", "parameter-problem")
_ICMPV6: Final = (
    "destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem",
    "nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert",
    "mld-listener-query", "mld-listener-report", "mld-listener-done", "mld2-listener-report",
)  # fmt: skip


class Means(NamedTuple):
    """What a table is written with."""

    sets: bool = True
    ct: bool = True
    reject: bool = True
    cgroup: bool = False


class Held(NamedTuple):
    """One scope as ``hold`` finds it; all of it may be unknown."""

    table: str = TABLE
    cgroup: str | None = None
    """Path below /sys/fs/cgroup; None is the whole namespace."""
    cgroup_level: int = 1
    listening: frozenset[int] = frozenset()
    """TCP ports on which local programs listen."""
    old_tcp: frozenset[int] = frozenset()
    old_udp: frozenset[int] = frozenset()
    """Local ports of connections that are there already, services' own left out."""
    ephemeral: tuple[int, int] = (32768, 60999)
    sysctls_before: Sysctls = ()
    """What the table that stands there has noted."""
    flagged: bool = False
    """The table that stands has flags, as an owner left it; see ``ramnet.ruleset.table``."""


_WAYS: Final = (
    Means(),
    Means(sets=False),
    Means(sets=False, reject=False),
    Means(sets=False, ct=False),
    Means(sets=False, ct=False, reject=False),
)


def table_of(scope: str, cgroup: str | None) -> str:
    """The table of a scope, the same for ``hold`` and for ``run``."""
    return TABLE if cgroup is None else f"{TABLE}_{scope.replace('-', '_')}"


def render_texts(held: Held, *, replace: bool) -> Iterator[tuple[Means, str]]:
    """The tables to try, best first; a cgroup's hold falls back on its whole namespace.

    ``replace`` takes the place of whatever table of that name is there; without it, the kernel
    refuses the whole transaction where one is.
    """
    if held.cgroup is not None:
        for means in (Means(cgroup=True), Means(cgroup=True, sets=False)):
            yield means, _render(held, means, replace=replace)
    for means in _WAYS:
        yield means, _render(held, means, replace=replace)


def _render(held: Held, means: Means, *, replace: bool) -> str:
    name = held.table
    if means.cgroup:
        head = "type filter hook output priority 0; policy accept;"
        match = f'socket cgroupv2 level {held.cgroup_level} "{held.cgroup}" goto held'
        chains = [*_chain("held", _held(held, means)), *_chain("output", [head, match])]
    else:
        head = "type filter hook output priority 0; policy drop;"
        chains = [*_chain("held", [head, *_held(held, means)]), *_around(held, means)]
    chains.extend(noted(held.sysctls_before))
    body = [*_sets(held, means), *_chain("refuse", _refuse(means)), *chains]
    inner = "\n".join(f"\t{line}" for line in body)
    before = f"create table inet {name}"
    if replace:
        added = "" if held.flagged else f"table inet {name}\n"
        before = f"{added}delete table inet {name}"
    return f"{before}\ntable inet {name} {{\n{inner}\n}}\n"


def _sets(held: Held, means: Means) -> Iterator[str]:
    if means.sets:
        for name in ("listening", "old_tcp", "old_udp"):
            ports = ", ".join(map(str, sorted(getattr(held, name))))
            holds = f" elements = {{ {ports} }}" if ports else ""
            yield f"set {name} {{ type inet_service;{holds} }}"


def _chain(name: str, rules: Iterable[str]) -> Iterator[str]:
    yield f"chain {name} {{"
    yield from (f"\t{rule}" for rule in rules)
    yield "}"


def _held(held: Held, means: Means) -> Iterator[str]:
    yield from _replies(held, means) if means.ct else _replies_without_ct(held)
    if not means.cgroup:
        yield f"ip daddr {SINKHOLE4} goto refuse"
        yield f"ip6 daddr {SINKHOLE6} goto refuse"
        if means.ct:
            yield f'oifname "lo" ct direction original ct mark 0x0 ct mark set {LOCAL_MARK:#x}'
        yield 'oifname "lo" accept'
    if means.ct:
        yield from _services(held, means)
    yield from _needed(means)
    yield "goto refuse"


def _replies(held: Held, means: Means) -> Iterator[str]:
    yield f'oifname != "lo" ct mark {CUT_MARK:#x} goto refuse'
    old = 'oifname != "lo" ct direction reply'
    if means.sets:
        yield f"{old} tcp sport @old_tcp tcp sport != @listening goto refuse"
        yield f"{old} udp sport @old_udp goto refuse"
    else:
        tcp = held.old_tcp - held.listening
        yield from (f"{old} tcp sport {port} goto refuse" for port in sorted(tcp))
        yield from (f"{old} udp sport {port} goto refuse" for port in sorted(held.old_udp))
    yield f"{old} ct mark {LOCAL_MARK:#x} goto refuse"
    yield "ct direction reply accept"
    # What another's NAT sends elsewhere still shows the interface it was meant for.
    yield "ct status dnat goto refuse"


def _replies_without_ct(held: Held) -> Iterator[str]:
    low, high = held.ephemeral
    away = 'oifname != "lo"'
    for port in sorted(held.old_tcp - held.listening):
        yield f"{away} tcp sport {port} goto refuse"
    yield f"{away} {_BARE_SYN} goto refuse"
    yield f"{away} tcp flags & (syn | ack) == (syn | ack) accept"
    yield f"{away} tcp sport != {low}-{high} accept"
    for port in sorted(p for p in held.listening if low <= p <= high):
        yield f"{away} tcp sport {port} accept"
    yield f"{away} icmp type echo-reply accept"
    yield f"{away} icmpv6 type echo-reply accept"


def _services(held: Held, means: Means) -> Iterator[str]:
    """Inbound connections that conntrack sees for the first time by a packet of ours."""
    inbound = _inbound(held)
    yield from _each("tcp sport", map(str, inbound), "tcp flags & syn == 0 accept", means)


def _inbound(held: Held) -> list[int]:
    low, high = held.ephemeral
    return sorted(port for port in held.listening if not low <= port <= high)


def _needed(means: Means) -> Iterator[str]:
    yield from _each("icmp type", _ICMP, "accept", means)
    yield from _each("icmpv6 type", _ICMPV6, "accept", means)
    yield "meta nfproto ipv4 meta l4proto igmp accept"
    yield "ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept"
    yield "ip6 daddr ff02::1:2 udp sport 546 udp dport 547 accept"
    if means.ct:
        yield f"udp dport 4789 {_USER_SOCKET} goto refuse"
        yield "udp dport 4789 accept"


def _each(selector: str, values: Iterable[str], verdict: str, means: Means) -> Iterator[str]:
    """One rule with a set, or one rule for each value."""
    listed = list(values)
    if means.sets and listed:
        yield f"{selector} {{ {', '.join(listed)} }} {verdict}"
    elif listed:
        yield from (f"{selector} {value} {verdict}" for value in listed)


def _refuse(means: Means) -> Iterator[str]:
    if means.reject:
        yield "meta l4proto tcp reject with tcp reset"
        yield "meta l4proto udp reject with icmpx type port-unreachable"
        yield "reject with icmpx type admin-prohibited"
    else:
        yield "drop"


def _around(held: Held, means: Means) -> Iterator[str]:
    """What the output hook cannot see: how packets came in, and by what they really leave."""
    if means.ct:
        head = "type filter hook input priority 0; policy accept;"
        yield from _chain("input", [head, *_input(held)])
    head = "type filter hook postrouting priority 300; policy accept;"
    yield from _chain("leaving", [head, *_leaving(means)])


def _input(held: Held) -> Iterator[str]:
    low, high = held.ephemeral
    yield 'iifname "lo" accept'
    yield from (f"tcp dport {port} accept" for port in _inbound(held))
    yield f"ct state new {_IN_MIDSTREAM} ct mark set {CUT_MARK:#x}"
    yield f"ct state new udp dport {low}-{high} drop"


def _leaving(means: Means) -> Iterator[str]:
    yield 'oifname "lo" accept'
    yield "ip daddr 127.0.0.0/8 drop"
    yield f"ip daddr {SINKHOLE4} drop"
    yield "ip6 daddr ::1 drop"
    yield f"ip6 daddr {SINKHOLE6} drop"
    if means.ct:
        yield f"{_USER_SOCKET} ct direction original ct status dnat drop"
