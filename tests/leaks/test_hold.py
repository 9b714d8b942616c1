"""`ramnet hold`: refused before there is a service, and until it enforces."""

from __future__ import annotations

import time

import pytest

from tests.lab.service import CONFIG, PROGRAM
from tests.leaks.conftest import config_of
from tests.leaks.harness import CLIENTS, OUTSIDE, POLICY, Harness, Watch

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.fixture
def holding(bare: Harness) -> Harness:
    """A vm whose ramnet knows `hold`, with its configuration and nothing else."""
    bare.lab.ramnet.write_config(config_of(bare.lab, bare.way))
    return bare


def _nothing_leaves(watch: Watch) -> None:
    """Not even to what the policy allows: nobody is there to decide."""
    before = len(watch.capture.settle())
    time.sleep(0.5)
    left = watch.capture.settle().since(before).sent_by_vm().without_housekeeping()
    mine = left.where(lambda packet: packet.destination not in CLIENTS)
    assert not mine, str(mine)


def test_hold_then_run(holding: Harness) -> None:
    ramnet = holding.lab.ramnet
    with holding.watch("hold, then run", promised=OUTSIDE, old=True) as watch:
        time.sleep(0.3)
        watch.harm()
        ramnet.command("hold").check()
        watch.count_from_here()
        _nothing_leaves(watch)
        ramnet.start(POLICY, config=config_of(holding.lab, holding.way))
        watch.healthy()


def test_a_hold_outlives_a_service_that_cannot_start(holding: Harness) -> None:
    """A broken configuration at the first start: init tries again and again, all is refused."""
    ramnet, vm = holding.lab.ramnet, holding.lab.vm
    with holding.watch("hold, broken config at start", promised=OUTSIDE) as watch:
        ramnet.command("hold").check()
        watch.count_from_here()
        vm.write(CONFIG, "policy = [\n")
        for _ in range(3):
            assert not vm.run([PROGRAM, "run", "--config", CONFIG]).ok
        _nothing_leaves(watch)
        watch.harm()
        ramnet.start(POLICY, config=config_of(holding.lab, holding.way))
        watch.healthy()
