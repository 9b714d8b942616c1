"""For which promise each rule is there: who misses a rule learns what is no longer kept.

One line for each kind of rule, as the planners write it; the first that fits counts. A new rule
needs a line here: ``tests/unit/ruleset/test_purposes.py`` finds those that have none.
"""

import re
from typing import Final, NamedTuple

from ramnet.ruleset import promises
from ramnet.ruleset.names import GATE_UID
from ramnet.ruleset.promises import Promise


class Purpose(NamedTuple):
    """``rule``: what a rule of these chains must fit from its begin to its end."""

    chains: str
    rule: re.Pattern[str]
    promise: Promise


_CGROUP: Final = r'socket cgroupv2 level \d+ "[^"]+"'
_GATE: Final = rf"meta skuid {GATE_UID}( {_CGROUP})?"
_EXEMPT: Final = (
    rf"(meta skuid \d+ ?)?({_CGROUP} ?)?(ip6? daddr [\w.:/]+ ?)?"
    r"(meta l4proto [\w-]+|(tcp|udp|sctp) dport \d+)?"
)
_SINK: Final = r"ip6? daddr (240\.0\.0\.1|100::1)"
_LOOP: Final = r"ip6? daddr (127\.0\.0\.1|::1)"
_MARK_LOCAL: Final = r"ct mark 0x0 ct mark set 0x52414d4c"
_STEERED: Final = r"meta mark set 0x52414d47 accept"
_OLD_INBOUND: Final = r"ip6? daddr \S+ tcp sport \d+ tcp dport \d+ tcp flags .* accept"
_USER: Final = r"meta skuid 0-4294967294"


def _purposes(chains: str, *lines: tuple[str, Promise]) -> tuple[Purpose, ...]:
    return tuple(Purpose(chains, re.compile(rule), promise) for rule, promise in lines)


PURPOSES: Final = (
    *_purposes(
        "to_gate members_to_gate steer",
        (rf"{_GATE} accept", promises.PULL),
        (r".* goto members_to_gate", promises.NO_WAY_ROUND),
        (r"(udp|tcp) dport 53 redirect to :\d+", promises.DNS),
        (rf'oifname "lo" (meta nfproto ipv4 )?(udp|tcp) dport 53 {_STEERED}', promises.DNS),
        (rf"(meta nfproto ipv4 )?udp dport 53 {_STEERED}", promises.DNS),
        (rf"(meta nfproto ipv4 )?tcp dport 53 {_STEERED}", promises.DNS),
        (r"tcp flags & \(fin \| syn \| rst \| ack\) != syn accept", promises.OLD),
        (rf"{_SINK} (meta l4proto tcp redirect|tcp dport .* {_STEERED}).*", promises.PULL),
        (r'oifname "lo" tcp dport != @listening.* accept', promises.NEAR),
        (r'oifname != "lo" tcp dport 853 accept', promises.DNS),
        (r"meta l4proto tcp redirect to :\d+", promises.NO_WAY_ROUND),
        (rf"(meta nfproto ipv4 )?tcp dport .* {_STEERED}", promises.NO_WAY_ROUND),
        (r'oifname "lo" accept', promises.NEAR),
        (r"meta mark 0x2000 accept", promises.INBOUND),
        (_OLD_INBOUND, promises.INBOUND),
    ),
    *_purposes(
        "output members",
        (r'ct direction reply oifname "lo" accept', promises.NEAR),
        (rf"{_GATE} goto gate", promises.PULL),
        (rf"{_GATE} accept", promises.PULL),
        (rf"{_EXEMPT} goto owned", promises.LINK),
        (r'ct mark 0x52414d43 oifname != "lo" goto refuse', promises.OLD),
        (r".* goto members", promises.CLOSED),
        (r"ct direction reply goto replies", promises.INBOUND),
        (rf"ct mark 0x52414d47 {_USER} goto refuse", promises.OWN),
        (r"ct mark 0x52414d47 accept", promises.PULL),
        (rf'oifname "lo" ct direction original {_MARK_LOCAL}', promises.OWN),
        (r"ct status dnat goto redirected", promises.NO_WAY_ROUND),
        (rf"{_SINK} goto refuse", promises.PROMPT),
        (r'oifname "lo" ct mark 0x52414d41 .*goto refuse', promises.NO_WAY_ROUND),
        (r'oifname "lo" ct mark 0x52414d41 accept', promises.NEAR),
        (r'oifname "lo" meta l4proto tcp goto cut', promises.OLD),
        (r'oifname "lo" accept', promises.NEAR),
        (_OLD_INBOUND, promises.INBOUND),
        (r"oif \S+ ip6? daddr \S+ udp dport \d+ goto refuse", promises.CLOSED),
        (r"oif \S+ ip6? daddr .* accept", promises.NEAR),
        (r'oifname != "lo" meta mark 0x52414d52 drop', promises.OWN),
        (r"meta mark 0x52414d47 accept", promises.NO_WAY_ROUND),
        (r"meta mark 0x2000 .*goto refuse", promises.OWN),
        (r"meta mark 0x2000 (meta l4proto tcp )?accept", promises.INBOUND),
        (r"udp sport .* goto refuse", promises.OLD),
        (r"udp sport != .* ct direction reply ct mark 0x2000 accept", promises.INBOUND),
        (r"(icmp|icmpv6) type .* accept", promises.LINK),
        (r"meta nfproto ipv4 meta l4proto igmp accept", promises.LINK),
        (r"ip6? daddr \S+ udp sport (68|546) udp dport (67|547) accept", promises.LINK),
        (rf"udp dport 4789 {_USER} goto refuse", promises.CLOSED),
        (r"udp dport 4789 accept", promises.LINK),
        (rf"meta l4proto (udp|tcp) {_USER} goto refuse", promises.CLOSED),
        (r"tcp flags & syn == 0 accept", promises.PULL),
        (r"goto (refuse|cut)", promises.PROMPT),
    ),
    *_purposes(
        "to_gate steer output members members_to_gate", (rf"{_EXEMPT} accept", promises.LINK)
    ),
    *_purposes(
        "gate led_back owned",
        (r"ct direction original ct status dnat goto led_back", promises.OWN),
        (rf"{_LOOP} .* goto refuse", promises.OWN),
        (r"ct direction original ct mark 0x0 ct mark set 0x52414d47", promises.OWN),
        (r"goto owned|accept", promises.PULL),
    ),
    *_purposes(
        "replies",
        (r"tcp sport @old_tcp tcp sport != @listening goto (refuse|cut)", promises.OLD),
        (r"udp sport @old_udp goto refuse", promises.OLD),
        (r"oif != @bridges udp sport \d+-\d+ goto refuse", promises.OLD),
        (r"ct mark 0x52414d4[1c] goto refuse", promises.OWN),
        (r'oifname "lo" accept', promises.NEAR),
        (r"accept", promises.INBOUND),
    ),
    *_purposes(
        "redirected",
        (_MARK_LOCAL, promises.OWN),
        (rf"{_LOOP} (tcp|udp) dport .* accept", promises.NO_WAY_ROUND),
        (r"ip6? daddr @containers[46] meta l4proto != tcp ct mark != .*", promises.CLOSED),
        (r"ip6? daddr @containers[46] meta l4proto .*", promises.INBOUND),
        (r"goto refuse", promises.CLOSED),
    ),
    *_purposes("cut", (r"meta l4proto tcp .*", promises.OLD), (r"goto refuse", promises.PROMPT)),
    *_purposes(
        "refuse",
        (r"ct mark 0x0 ct mark set 0x52414d43|meta mark set 0x52414d52", promises.OWN),
        (r".*(reject with .*|drop)", promises.PROMPT),
    ),
    *_purposes(
        "input arriving",
        (r'iifname "(lo|ramnet0)" accept', promises.NEAR),
        (r"ct state != new accept", promises.INBOUND),
        (r"tcp flags .* ct mark set 0x52414d43", promises.OLD),
        (r"udp dport .* accept", promises.LINK),
        (r"iif != @bridges udp dport .* drop", promises.OLD),
        (r'meta l4proto tcp iifname "lo" ct mark 0x52414d41 .*', promises.NO_WAY_ROUND),
        (r"(meta l4proto udp ct state new ct mark|meta mark) set 0x2000", promises.INBOUND),
    ),
    *_purposes("returning", (r'iifname "ramnet0" meta mark set 0x52414d47', promises.PULL)),
    *_purposes(
        "leaving leaving6 translated marked",
        (r"oif 1 accept", promises.NEAR),
        (r"meta nfproto ipv6 goto leaving6", promises.GUARD),
        (r'oifname "ramnet0" accept', promises.NO_WAY_ROUND),
        (r"(ct status dnat|meta mark 0x52414d47) goto (translated|marked)", promises.GUARD),
        (r"(.* )?drop", promises.GUARD),
    ),
)


def promise_of(chain: str, rule: str) -> Promise | None:
    """The promise that a planned rule carries; None where nobody has said it."""
    for purpose in PURPOSES:
        if chain in purpose.chains.split() and purpose.rule.fullmatch(rule):
            return purpose.promise
    return None
