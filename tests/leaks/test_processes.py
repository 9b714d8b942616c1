"""The service's own processes killed and stopped."""

from __future__ import annotations

import time

import pytest

from tests.leaks.conftest import config_of
from tests.leaks.harness import OUTSIDE, POLICY, Harness, another_gate, another_supervisor

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_start_from_no_rules(bare: Harness) -> None:
    """What was open before is cut: it goes on talking, and none of it leaves."""
    if bare.way.enter:
        pytest.skip("nobody is in this scope before the service has made it")
    ramnet = bare.lab.ramnet
    with bare.watch("start from no rules", old=True) as watch:
        time.sleep(0.3)  # let all old connections talk while they may
        assert watch.sent()
        watch.harm()
        ramnet.start(POLICY, config=config_of(bare.way))
        watch.count_from_here()
        watch.healthy()
        time.sleep(1)
    talked = {name: flow for name, flow in watch.flows.items() if name.startswith("old")}
    assert len(talked) == 8
    assert all(flow["tries"] > 10 for flow in talked.values()), repr(talked)
    assert all(flow["breaks"] for name, flow in talked.items() if "tcp" in name), repr(talked)


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
            time.sleep(3)
            watch.fetch()
            assert ramnet.process is not None
            ramnet.process.go_on()
            watch.healthy()
            assert ramnet.gate_pid() == gate
