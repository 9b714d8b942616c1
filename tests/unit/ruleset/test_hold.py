"""The tables of ``hold``: what passes is listed, whichever way they are written."""

import re

import pytest

from ramnet.ruleset import SINKHOLE4
from ramnet.ruleset.grammar import parse_table, port_sets
from ramnet.ruleset.hold import MARK_OF_HOLD, Held, Means, render_texts, table_of
from ramnet.ruleset.names import CUT_MARK, LOCAL_MARK
from ramnet.ruleset.trace import Connection, Packet, trace
from tests.unit.ruleset.rows import FAR4, FAR6

HELD = Held(
    listening=frozenset({22, 40000}),
    old_tcp=frozenset({22, 41000}),
    old_udp=frozenset({42000}),
)
TEXTS = dict(render_texts(HELD, replace=True))
BEST = TEXTS[Means()]
REPLY = Connection(state="established", direction="reply")


@pytest.mark.parametrize(
    ("packet", "verdict"),
    [
        (Packet(FAR4, dport=443, connection=Connection()), "reset"),
        (Packet(FAR6, dport=443, connection=Connection()), "reset"),
        (Packet(FAR4, protocol="udp", dport=53, connection=Connection()), "icmp"),
        (Packet(FAR4, protocol="icmp", icmp_type="echo-request", connection=Connection()), "icmp"),
        (Packet(FAR4, protocol="sctp", dport=9, connection=Connection()), "icmp"),
        (Packet(FAR4, protocol="udp", dport=4789, uid=0, connection=Connection()), "icmp"),
        (Packet(FAR4, protocol="udp", dport=4789, uid=None, connection=Connection()), "accepted"),
        (Packet(FAR4, protocol="udp", sport=68, dport=67, connection=Connection()), "icmp"),
        (Packet(FAR6, protocol="udp", sport=546, dport=547, connection=Connection()), "icmp"),
        (
            Packet("255.255.255.255", protocol="udp", sport=68, dport=67, connection=Connection()),
            "accepted",
        ),
        (Packet(FAR4, sport=22, flags=frozenset({"ack"}), connection=REPLY), "accepted"),
        (Packet(FAR4, sport=41000, flags=frozenset({"ack"}), connection=REPLY), "reset"),
        (Packet(FAR4, protocol="udp", sport=42000, connection=REPLY), "icmp"),
        (Packet("127.0.0.1", dport=5000, oif="lo", connection=Connection()), "accepted"),
        (Packet(SINKHOLE4, dport=443, oif="lo", connection=Connection()), "reset"),
    ],
    ids=str,
)
def test_what_passes(packet: Packet, verdict: str) -> None:
    assert trace(BEST, packet).verdict == verdict


@pytest.mark.parametrize("mark", [CUT_MARK, LOCAL_MARK])
def test_an_answer_that_is_none_is_refused(mark: int) -> None:
    connection = Connection(state="established", direction="reply", mark=mark)
    assert trace(BEST, Packet(FAR4, sport=22, connection=connection)).verdict == "reset"


def test_run_learns_the_old_connections_from_it() -> None:
    assert port_sets(BEST, "old_tcp", "old_udp") == (HELD.old_tcp, HELD.old_udp)
    assert parse_table(BEST)


@pytest.mark.parametrize("means", TEXTS, ids=str)
def test_nothing_is_used_that_is_missing(means: Means) -> None:
    text = TEXTS[means]
    assert MARK_OF_HOLD in text
    assert ("policy drop;" in text) is not means.cgroup
    assert "flags owner" not in text
    assert bool(re.search(r"\bct\b", text)) is means.ct
    assert ("reject" in text) is means.reject
    assert ("set " in text.replace("mark set ", "")) is means.sets
    assert bool(re.search(r"\{ \S.*\}", text)) is means.sets


def test_a_cgroup_falls_back_on_its_namespace() -> None:
    held = Held(table=table_of("a-b", "x.slice"), cgroup="unified/x.slice")
    texts = list(render_texts(held, replace=False))
    assert [means.cgroup for means, _ in texts] == [True, True] + [False] * len(TEXTS)
    for means, text in texts:
        assert text.startswith("create table inet ramnet_a_b\ntable inet ramnet_a_b {")
        assert ('socket cgroupv2 level 1 "unified/x.slice" goto held' in text) is means.cgroup
        assert ('oifname "lo" accept' in text) is not means.cgroup
