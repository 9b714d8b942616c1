"""The rules of a scope that is one cgroup, packet by packet."""

from dataclasses import replace

import pytest

from ramnet.ruleset import (
    SINKHOLE4,
    Capabilities,
    Exemption,
    Inbound,
    Members,
    Ports,
    Situation,
    member_table,
)
from ramnet.ruleset import render_table as render
from ramnet.ruleset.members import ASKED_MARK
from ramnet.ruleset.redirect import CUT_MARK, LOCAL_MARK
from ramnet.ruleset.trace import Connection, Packet, trace

CGROUP = "unified/ramnet.slice"
SITUATION = Situation(
    ports=Ports(927, 928),
    listening=frozenset({22, 5000}),
    old_tcp=frozenset({45001}),
    old_udp=frozenset({5001}),
    inbound=frozenset({Inbound(5000, "203.0.113.7", 40000)}),
    bridges=frozenset({3}),
    containers4=frozenset({"172.17.0.0/16"}),
    exemptions=(Exemption(uid=123, proto="udp", port=123),),
    members=Members(member_table("docker-d"), cgroup=CGROUP, cgroup_level=1),
)
TABLE = render(SITUATION)
FAR, OWN, INNER = "203.0.113.7", "192.0.2.2", "172.17.0.2"
ACK = frozenset({"ack"})
MEMBER = Packet(FAR, "tcp", 443, cgroup=f"1 {CGROUP}")
UDP = replace(MEMBER, protocol="udp")
NEAR = replace(MEMBER, destination="127.0.0.1", oif="lo", ifindex=1, dport=5000)
ANSWER = Connection("established", "reply")

REDIRECTED = [
    ("tcp afar", MEMBER, 928),
    ("a name server, tcp", replace(MEMBER, dport=53), 927),
    ("a name server, udp", replace(UDP, dport=53), 927),
    ("the sinkhole", replace(MEMBER, destination=SINKHOLE4), 928),
    ("a port on loopback that listens", NEAR, 928),
    ("a container's port", replace(MEMBER, destination=INNER, oif="docker0", ifindex=3), 928),
]
REFUSED = [
    ("udp afar", UDP, "icmp"),
    ("dns over tls", replace(MEMBER, dport=853), "reset"),
    ("another protocol", replace(MEMBER, protocol="sctp"), "icmp"),
    ("an echo request", replace(MEMBER, protocol="icmp"), "icmp"),
    ("an old connection", replace(MEMBER, flags=ACK), "reset"),
    ("one from a service's port", replace(MEMBER, sport=5000, flags=ACK), "reset"),
    ("an old one to a local proxy", replace(NEAR, dport=3128, flags=ACK), "reset"),
    (
        "an old one that seems inbound",
        replace(MEMBER, sport=45001, flags=ACK, connection=ANSWER),
        "reset",
    ),
    ("an old udp one", replace(UDP, sport=5001, connection=ANSWER), "icmp"),
    ("udp from an ephemeral port", replace(UDP, sport=40000, connection=ANSWER), "icmp"),
    (
        "an answer to itself that leaves",
        replace(MEMBER, flags=ACK, connection=replace(ANSWER, mark=LOCAL_MARK)),
        "reset",
    ),
    (
        "further than the SYN where nobody listened",
        replace(NEAR, dport=3128, flags=ACK, connection=Connection("established", mark=ASKED_MARK)),
        "reset",
    ),
    ("udp 443 to a container", replace(UDP, destination=INNER, oif="docker0", ifindex=3), "icmp"),
    ("a container by the uplink", replace(UDP, destination=INNER, dport=5353), "icmp"),
]
ACCEPTED = [
    ("a closed port answers by itself", replace(NEAR, dport=3128)),
    ("an answer to somebody inbound", replace(MEMBER, sport=22, flags=ACK, connection=ANSWER)),
    ("udp on loopback", replace(UDP, destination="127.0.0.1", oif="lo", ifindex=1)),
    ("an exemption", replace(UDP, uid=123, dport=123)),
    ("an ICMP error", replace(MEMBER, protocol="icmp", icmp_type="destination-unreachable")),
    ("a container, udp", replace(UDP, destination=INNER, dport=5353, oif="docker0", ifindex=3)),
    ("an old inbound one", replace(MEMBER, sport=5000, dport=40000, flags=ACK)),
]
EVERY = [
    *(packet for _, packet, _ in REDIRECTED),
    *(packet for _, packet, _ in REFUSED),
    *(packet for _, packet in ACCEPTED),
]


@pytest.mark.parametrize(("packet", "port"), [row[1:] for row in REDIRECTED],
                         ids=[row[0] for row in REDIRECTED])  # fmt: skip
def test_goes_to_the_gate(packet: Packet, port: int) -> None:
    fate = trace(TABLE, packet)
    assert (fate.verdict, fate.port) == ("redirected", port), "\n".join(fate.rules)


@pytest.mark.parametrize(("packet", "verdict"), [row[1:] for row in REFUSED],
                         ids=[row[0] for row in REFUSED])  # fmt: skip
def test_is_refused(packet: Packet, verdict: str) -> None:
    fate = trace(TABLE, packet)
    assert fate.verdict == verdict, "\n".join(fate.rules)


@pytest.mark.parametrize("packet", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_passes(packet: Packet) -> None:
    fate = trace(TABLE, packet)
    assert fate.verdict == "accepted", "\n".join(fate.rules)


@pytest.mark.parametrize("cgroup", [None, "1 unified/user.slice"])
def test_whatever_others_send_is_as_it_was(cgroup: str | None) -> None:
    for packet in EVERY:
        bystanders = replace(packet, cgroup=cgroup, connection=Connection("established"))
        fate = trace(TABLE, bystanders)
        assert (fate.verdict, fate.mark, fate.learned) == ("accepted", 0, frozenset())


def test_what_a_cut_connection_sends_without_its_owner_stays_here() -> None:
    cut = trace(TABLE, replace(MEMBER, flags=ACK))
    assert cut.mark == CUT_MARK
    kernels = replace(MEMBER, cgroup=None, uid=None, flags=frozenset({"rst"}))
    assert trace(TABLE, replace(kernels, connection=Connection(mark=cut.mark))).verdict == "reset"


def test_a_table_of_its_own_and_both_means_alike() -> None:
    assert "table inet ramnet_docker_d {" in TABLE
    classed = render(replace(SITUATION, members=Members("ramnet_docker_d", class_id=0x52000001)))
    assert classed == TABLE.replace(f'socket cgroupv2 level 1 "{CGROUP}"', "meta cgroup 1375731713")
    fate = trace(classed, replace(MEMBER, cgroup=None, class_id=0x52000001))
    assert (fate.verdict, fate.port) == ("redirected", 928)
    assert trace(classed, replace(MEMBER, class_id=7)).verdict == "accepted"


@pytest.mark.parametrize("transparent", [None, 0, 1])
@pytest.mark.parametrize("mark", [0, ASKED_MARK])
def test_who_begins_to_listen_is_not_met_before_he_is_known(
    transparent: int | None, mark: int
) -> None:
    arriving = replace(
        NEAR, cgroup=None, uid=None, oif=None, iif="lo", dport=3128, transparent=transparent,
        connection=Connection(mark=mark),
    )  # fmt: skip
    met = mark == ASKED_MARK and transparent is not None
    assert trace(TABLE, arriving).verdict == ("reset" if met else "accepted")
    without = replace(SITUATION, capabilities=Capabilities(socket_lookup=False))
    assert "socket transparent" not in render(without)


def test_members_must_be_somebody() -> None:
    with pytest.raises(ValueError, match="cgroup or a class"):
        Members("ramnet_a")
