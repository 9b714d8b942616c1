"""The table of tier ``redirect`` for a scope that is one cgroup of its namespace.

Everything begins with "is it a socket of the cgroup?"; packets of anybody else meet one rule that
does not match, and no other. The gate is outside the cgroup, so it needs no exception.

TCP to what is near goes to the gate from every port, since a proxy outside the cgroup is not
restricted itself and may have begun to listen a moment ago. A port that is known to be closed is
left alone, so that it answers by itself, by a reset. Where somebody listens there after all, the
same reset is given when the SYN arrives (``input``), or else, on kernels without ``nft_socket``,
when the client goes on (``members``): the port stays closed for members until it is known.
"""

from collections.abc import Iterator
from typing import Final

from ramnet.ruleset import redirect as whole
from ramnet.ruleset.names import SINKHOLE4, SINKHOLE6
from ramnet.ruleset.situation import Members, Situation
from ramnet.ruleset.table import replace_table

ASKED_MARK: Final = 0x52414D41
"""ct mark of a member's SYN to a port on which nobody seemed to listen ("RAMA")."""


def render_table(situation: Situation, members: Members) -> str:
    """The whole desired state, replacing whatever table of that name is there."""
    ours = _match(members)
    to_gate, output = [f"{ours} goto members_to_gate"], _output(ours)
    body = [
        *whole.sets(situation),
        *whole.base_chain("to_gate", "nat", "output", -101, "accept", to_gate),
        *whole.plain_chain("members_to_gate", _to_gate(situation)),
        *whole.base_chain("output", "filter", "output", 0, "accept", output),
        *whole.plain_chain("members", _members(situation)),
        *whole.plain_chain("replies", _replies(situation)),
        *whole.plain_chain("redirected", _redirected(situation)),
        *whole.plain_chain("cut", _cut()),
        *whole.plain_chain("refuse", whole.refuse()),
        *whole.base_chain("leaving", "filter", "postrouting", 300, "accept", _leaving()),
        *whole.plain_chain("translated", _translated(situation)),
    ]
    if situation.capabilities.socket_lookup:
        body += whole.base_chain("input", "filter", "input", 0, "accept", _input())
    return replace_table(situation, body, members.table)


def _match(members: Members) -> str:
    if members.cgroup is not None:
        return f'socket cgroupv2 level {members.cgroup_level} "{members.cgroup}"'
    return f"meta cgroup {members.class_id}"


def _to_gate(situation: Situation) -> Iterator[str]:
    ports = situation.ports
    for exemption in filter(whole.would_be_redirected, situation.exemptions):
        yield f"{whole.exempted(exemption)} accept"
    yield f"udp dport 53 redirect to :{ports.resolver}"
    yield f"tcp dport 53 redirect to :{ports.resolver}"
    yield f"{whole.IN_MIDSTREAM} accept"
    yield f"ip daddr {SINKHOLE4} meta l4proto tcp redirect to :{ports.proxy}"
    yield f"ip6 daddr {SINKHOLE6} meta l4proto tcp redirect to :{ports.proxy}"
    published = " tcp dport != @published" if situation.capabilities.dynamic_sets else ""
    closed = f'oifname "lo" tcp dport != @listening{published} ct mark 0x0'
    yield f"{closed} ct mark set {ASKED_MARK:#x} accept"
    yield 'oifname != "lo" tcp dport 853 accept'
    yield f"meta l4proto tcp redirect to :{ports.proxy}"


def _output(ours: str) -> Iterator[str]:
    # The reset that answers goes by loopback and carries the same mark.
    yield f'ct mark {whole.CUT_MARK:#x} oifname != "lo" goto refuse'
    yield f"{ours} goto members"


def _members(situation: Situation) -> Iterator[str]:
    for exemption in situation.exemptions:
        yield f"{whole.exempted(exemption)} accept"
    yield "ct direction reply goto replies"
    yield "ct status dnat goto redirected"
    yield f"ip daddr {SINKHOLE4} goto refuse"
    yield f"ip6 daddr {SINKHOLE6} goto refuse"
    # Who goes on where nobody listened has met somebody who began to, and is not restricted.
    asked = f'oifname "lo" ct mark {ASKED_MARK:#x}'
    yield f"{asked} {whole.IN_MIDSTREAM} goto refuse"
    yield f"{asked} accept"
    yield f'oifname "lo" ct direction original {whole.mark_local()}'
    yield from whole.inbound_services(situation)
    # An old connection to a proxy outside the cgroup would be a way round.
    yield 'oifname "lo" meta l4proto tcp goto cut'
    yield 'oifname "lo" accept'
    yield from whole.near_containers()
    yield f"icmp type {{ {whole.ICMP_ERRORS} }} accept"
    yield f"icmpv6 type {{ {whole.ICMPV6_NEEDED} }} accept"
    yield "goto cut"


def _replies(situation: Situation) -> Iterator[str]:
    low, high = situation.ephemeral
    # Where conntrack began in the middle of a connection, it may hold the far end for the opener.
    yield "tcp sport @old_tcp tcp sport != @listening goto cut"
    yield 'oifname "lo" accept'
    yield "udp sport @old_udp goto refuse"
    yield f"oif != @bridges udp sport {low}-{high} goto refuse"
    for mark in (whole.LOCAL_MARK, ASKED_MARK):
        yield f"ct mark {mark:#x} goto refuse"
    yield "accept"


def _redirected(situation: Situation) -> Iterator[str]:
    yield whole.mark_local()
    # What the mark of another tool makes unknown to `leaving` is not let pass.
    foreign = f"ct mark != {whole.LOCAL_MARK:#x}"
    for near in ("ip daddr @containers4", "ip6 daddr @containers6"):
        yield f"{near} meta l4proto != tcp {foreign} goto refuse"
    yield from whole.redirected(situation)


def _cut() -> Iterator[str]:
    yield f"meta l4proto tcp ct mark 0x0 ct mark set {whole.CUT_MARK:#x}"
    yield "goto refuse"


def _input() -> Iterator[str]:
    for transparent in (0, 1):
        asked = f'meta l4proto tcp iifname "lo" ct mark {ASKED_MARK:#x} ct state new'
        yield f"{asked} socket transparent {transparent} reject with tcp reset"


def _leaving() -> Iterator[str]:
    yield whole.TO_LOOPBACK
    yield "ct status dnat goto translated"


def _translated(situation: Situation) -> Iterator[str]:
    for ours in whole.listeners(situation):
        yield f"{ours} counter drop"
    # A socket bound to the uplink takes there what Docker's NAT sent to a container.
    for near in ("ip daddr @containers4", "ip6 daddr @containers6"):
        yield f"ct mark {whole.LOCAL_MARK:#x} oif != @bridges {near} counter drop"
