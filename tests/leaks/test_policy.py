"""The policy and the configuration, changed, broken and gone."""

from __future__ import annotations

import hashlib
import time

import pytest

from tests.lab import addresses as at
from tests.lab import policy_text
from tests.lab.processes import wait_until
from tests.lab.service import CONFIG
from tests.lab.service import POLICY as POLICY_PATH
from tests.leaks.conftest import config_of, enforce
from tests.leaks.harness import ALLOWED, OUTSIDE, POLICY, Harness

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

_NAMES = [site.name for site in ALLOWED]
_BROKEN = {
    "cut off": POLICY[: len(POLICY) // 2] + '\n[[registry]\nhost = "',
    "binary": "\x00\x01\x7f" * 1000,
    "wrong": 'organization = "acme"\n[[registry]]\nhost = "two words"\n',
}


def test_the_policy_is_reloaded(harness: Harness, rounds: int) -> None:
    """Each is adopted; a flow that each of them allows never breaks."""
    ramnet = harness.lab.ramnet
    with harness.watch("policy reload") as watch:
        for number in range(10 * rounds):
            extra = f"r{number}.corp.example"
            watch.harm()
            ramnet.set_policy(policy_text(*_NAMES, extra, version=number + 2))
            watch.well()
        watch.row.note = f"{10 * rounds} reloads, each adopted"
        watch.healthy()
    flow = watch.flows["flow"]
    assert not flow["breaks"]
    assert flow["answers"] > 10 * rounds


@pytest.mark.parametrize("kind", _BROKEN)
def test_a_broken_policy_at_reload(harness: Harness, kind: str) -> None:
    """What is in force stays in force."""
    ramnet = harness.lab.ramnet
    before = ramnet.status()["policy"]["digest"]
    with harness.watch(f"broken policy at reload: {kind}") as watch:
        watch.harm()
        ramnet.write_policy(_BROKEN[kind])
        ramnet.wait_status(lambda status: bool(status["policy"]["error"]))
        watch.healthy(lambda status: status["policy"]["digest"] == before)
        ramnet.set_policy(POLICY)
    assert not watch.flows["flow"]["breaks"]


def test_the_policy_vanishes(harness: Harness) -> None:
    ramnet = harness.lab.ramnet
    with harness.watch("policy file removed") as watch:
        watch.harm()
        harness.lab.vm.path(POLICY_PATH).unlink()
        ramnet.wait_status(lambda status: bool(status["policy"]["error"]))
        watch.healthy()
        ramnet.set_policy(POLICY)


def test_a_broken_policy_at_start(harness: Harness) -> None:
    """The last good one is in force then."""
    ramnet = harness.lab.ramnet
    digest = hashlib.sha256(POLICY.encode()).hexdigest()
    ramnet.wait_status(lambda status: digest == status["policy"]["digest"])
    with harness.watch("broken policy at start", promised=OUTSIDE) as watch:
        ramnet.stop()
        ramnet.write_policy(_BROKEN["cut off"])
        watch.harm()
        ramnet.start(config=config_of(harness.lab, harness.way))
        watch.healthy(lambda status: status["policy"]["digest"] == digest)
        assert ramnet.status()["policy"]["error"]
        ramnet.set_policy(POLICY)


def test_no_policy_at_all_at_start(bare: Harness) -> None:
    """No last good one either: everything is refused until there is a policy."""
    ramnet, state = bare.lab.ramnet, bare.lab.vm.directory / "ramnet"
    (state / "policy.last-good").unlink(missing_ok=True)
    ramnet.write_policy(_BROKEN["binary"])
    ramnet.start(config=config_of(bare.lab, bare.way))
    with bare.watch("broken policy at start, no last good") as watch:
        assert ramnet.status()["state"] == "refusing"
        before = len(watch.capture.settle())
        time.sleep(1)
        left = watch.capture.settle().since(before).sent_by_vm().to_site(at.FILES_ALLOWED)
        assert not left, "nothing is allowed where there is no policy"
        watch.harm()
        ramnet.write_policy(POLICY)
        watch.healthy()


def test_a_broken_configuration(harness: Harness) -> None:
    """The running service does not look at it; one that starts with it ends, and the rules stay."""
    ramnet, vm = harness.lab.ramnet, harness.lab.vm
    starts = ramnet.starts
    with harness.watch("broken config", promised=OUTSIDE) as watch:
        vm.write(CONFIG, "policy = [\n")
        time.sleep(0.5)
        assert ramnet.starts == starts
        watch.harm()
        assert ramnet.process is not None
        ramnet.process.stop()
        wait_until("init starts it, it ends", lambda: ramnet.starts > starts + 1, 60)
        ramnet.write_config(config_of(harness.lab, harness.way))
        watch.healthy(seconds=30)
    enforce(harness.lab, harness.way)
