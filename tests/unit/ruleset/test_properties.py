"""Nothing gets far but what is listed, whatever a packet looks like."""

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from ramnet.ruleset import GATE_UID, SINKHOLE4, SINKHOLE6, render_table
from ramnet.ruleset.grammar import Table, parse_table
from ramnet.ruleset.redirect import OWN_MARK
from ramnet.ruleset.trace import PROTOCOLS, Connection, Packet, trace
from tests.unit.ruleset.rows import BARE, FAR4, FAR6, PROXY, RESOLVER, USUAL

_FAR = st.sampled_from(
    [FAR4, FAR6, "8.8.8.8", "169.254.169.254", "224.0.0.251", "255.255.255.255", "10.0.0.1",
     "64:ff9b::cb00:7107", "fe80::1", "ff02::fb", SINKHOLE4, SINKHOLE6],
)  # fmt: skip
_PORT = st.one_of(
    st.sampled_from([22, 53, 67, 68, 80, 123, 443, 546, 547, 853, PROXY, RESOLVER, 4789, 5000]),
    st.integers(1, 65535),
)
_ICMP = st.sampled_from(["echo-request", "echo-reply", "redirect", "timestamp-request"])
_FLAGS = st.frozensets(st.sampled_from(["syn", "ack", "rst", "fin", "psh", "urg"]))
_CONNECTION = st.one_of(
    st.none(),
    st.builds(
        Connection,
        state=st.sampled_from(["new", "established"]),
        dnat=st.booleans(),
        mark=st.sampled_from([0, 1, OWN_MARK]),
    ),
)
_PACKETS = st.builds(
    Packet,
    destination=_FAR,
    protocol=st.one_of(st.sampled_from(sorted(PROTOCOLS)), st.integers(0, 255)),
    dport=_PORT,
    sport=_PORT,
    flags=_FLAGS,
    icmp_type=_ICMP,
    oif=st.sampled_from(["eth0", "docker0", "wlan0"]),
    ifindex=st.sampled_from([2, 3, 4]),
    bound=st.booleans(),
    uid=st.one_of(st.sampled_from([0, 1000, GATE_UID]), st.integers(1, 2**32 - 2)),
    connection=_CONNECTION,
    rerouted=st.sampled_from([("lo", 1), ("eth0", 2)]),
)


@cache
def table(usual: bool) -> Table:
    return parse_table(render_table(USUAL if usual else BARE))


def _listed(packet: Packet, usual: bool) -> bool:
    """Exceptions that a process could use: exemptions, DHCP, IGMP, and what is inbound."""
    ipv4 = ":" not in packet.destination
    number, ports = packet.protocol_number, (packet.sport, packet.dport)
    if number == PROTOCOLS["udp"] and ports == ((68, 67) if ipv4 else (546, 547)):
        return True
    if number == PROTOCOLS["igmp"] and ipv4:
        return True
    if not usual:
        return packet.uid == GATE_UID  # without cgroup2 the uid is all there is
    if (packet.uid, packet.protocol_number, packet.dport) in ((123, 17, 123), (3260, 6, 3260)):
        return True
    inbound = number == PROTOCOLS["tcp"] and ports == (22, 40000)
    return inbound and "syn" not in packet.flags


@given(_PACKETS, st.booleans())
@settings(max_examples=2000, deadline=None)
def test_no_process_but_the_gate_sends_anything_far(packet: Packet, usual: bool) -> None:
    fate = trace(table(usual), packet)
    if fate.verdict == "accepted":
        assert _listed(packet, usual), fate.rules
    if fate.verdict == "redirected":
        assert fate.port in (RESOLVER, PROXY)


@given(_PACKETS)
@settings(max_examples=500, deadline=None)
def test_refusals_are_never_silent(packet: Packet) -> None:
    fate = trace(table(True), packet)
    if fate.verdict == "dropped":
        # Only what a socket bound to the uplink asked for: the guard cannot answer.
        assert packet.bound or packet.rerouted != ("lo", 1)


@given(_FAR, st.sampled_from(["udp", "tcp"]), _PORT, st.booleans())
@settings(max_examples=300, deadline=None)
def test_port_53_never_reaches_another_resolver(
    server: str, protocol: str, sport: int, bound: bool
) -> None:
    fate = trace(table(True), Packet(server, protocol, 53, sport, bound=bound))
    assert fate.verdict == "dropped" if bound else fate.port == RESOLVER
