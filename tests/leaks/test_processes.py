"""The service's own processes killed and stopped."""

from __future__ import annotations

import time

import pytest

from tests.lab.processes import wait_until
from tests.leaks import probes
from tests.leaks.conftest import config_of
from tests.leaks.harness import (
    OUTSIDE,
    POLICY,
    Harness,
    Watch,
    another_gate,
    another_supervisor,
)

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_start_from_no_rules(bare: Harness) -> None:
    """What was open before is cut: it goes on talking, and none of it leaves."""
    ramnet = bare.lab.ramnet
    with bare.watch("start from no rules", old=True) as watch:
        wait_until("all old connections talk", lambda: _old() <= _targets(watch), 30)
        watch.harm()
        ramnet.start(POLICY, config=config_of(bare.lab, bare.way))
        watch.count_from_here()
        watch.healthy()
    talked = {name: flow for name, flow in watch.flows.items() if name.startswith("old")}
    assert len(talked) == 8
    cut = {name for name, flow in talked.items() if flow["breaks"]}
    assert cut == {f"old {how} {family}" for how in ("tcp", "http") for family in (0, 1)}


Target = tuple[str, str, int]


def _old() -> set[Target]:
    kinds = {"SOCK_STREAM": "tcp", "SOCK_DGRAM": "udp"}
    return {(kinds[old["type"]], old["address"], old["port"]) for old in probes.old()}


def _targets(watch: Watch) -> set[Target]:
    """Where packets with something in them went."""
    sent = watch.sent().where(lambda packet: bool(packet.payload))
    return {(packet.protocol, packet.destination, packet.ports[1]) for packet in sent}


def test_the_gate_is_killed(harness: Harness, rounds: int) -> None:
    ramnet = harness.lab.ramnet
    with harness.watch("kill -9 gate", promised=OUTSIDE) as watch:
        for _ in range(rounds):
            old = ramnet.gate_pid()
            watch.harm()
            ramnet.signal(old)
            watch.healthy(another_gate(old))


def test_the_supervisor_is_killed(harness: Harness, rounds: int) -> None:
    ramnet = harness.lab.ramnet
    with harness.watch("kill -9 supervisor", promised=OUTSIDE) as watch:
        for _ in range(rounds):
            old = ramnet.supervisor_pid()
            watch.harm()
            ramnet.signal(old)
            watch.healthy(another_supervisor(old))


def test_the_gate_is_stopped(harness: Harness, rounds: int) -> None:
    """The supervisor misses its answers, kills it and starts another."""
    ramnet = harness.lab.ramnet
    with harness.watch("SIGSTOP gate", promised=OUTSIDE) as watch:
        for _ in range(max(1, rounds // 2)):
            old = ramnet.gate_pid()
            watch.harm()
            ramnet.signal(old, "STOP")
            watch.healthy(another_gate(old))


def test_the_supervisor_is_stopped(harness: Harness, rounds: int) -> None:
    """The gate goes on meanwhile; nothing is asked of the other."""
    ramnet = harness.lab.ramnet
    with harness.watch("SIGSTOP supervisor") as watch:
        for _ in range(max(1, rounds // 2)):
            supervisor, gate = ramnet.supervisor_pid(), ramnet.gate_pid()
            watch.harm()
            ramnet.signal(supervisor, "STOP")
            time.sleep(2.5)  # longer than a gate may be silent
            watch.fetch()
            assert ramnet.process is not None
            ramnet.process.go_on()
            watch.healthy()
            assert ramnet.gate_pid() == gate
