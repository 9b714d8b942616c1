"""Where tables can be ours alone: others fail to touch them, ``down`` goes through the service."""

from __future__ import annotations

import pytest

from tests.lab import Capture, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import POLICY, TIERS, stray
from tests.system.test_life import Prober

pytestmark = [pytest.mark.lab, TIERS]

_CURL = ["curl", "--silent", "--show-error", "--max-time", "5"]
_HELLO = f"https://{at.FILES_ALLOWED.name}/hello.txt"


@pytest.fixture
def owned(enforced: Ramnet) -> Ramnet:
    lacks = {"owner", "persist"} & {*enforced.status()["scopes"][0]["missing_capabilities"]}
    if lacks:
        pytest.skip(f"kernel or library lacks {', '.join(sorted(lacks))}")
    return enforced


def rules(vm: Vm) -> str:
    """Our table; empty where there is none."""
    return vm.run(["nft", "-s", "-t", "list table inet ramnet"]).out


def mended(ramnet: Ramnet) -> int:
    return sum("set again" in (event["reason"] or "") for event in ramnet.events())


def test_what_others_do_changes_nothing(owned: Ramnet, vm: Vm, capture: Capture) -> None:
    before, count = rules(vm), mended(owned)
    assert "flags owner,persist" in before
    with Prober(vm).at_work():
        vm.run(["nft", "flush ruleset"]).check()
        for command in (
            "delete table inet ramnet",
            "insert rule inet ramnet output accept",
            "flush chain inet ramnet output",
        ):
            assert "Operation not permitted" in vm.run(["nft", command]).err
    assert rules(vm) == before
    vm.run([*_CURL, _HELLO]).check()
    assert not stray(capture)
    assert mended(owned) == count


def test_a_killed_service_leaves_them_and_the_next_one_takes_them(
    owned: Ramnet, vm: Vm, capture: Capture
) -> None:
    with Prober(vm).at_work():
        owned.signal(owned.supervisor_pid())
        owned.wait_restarted()
    assert "flags owner,persist" in rules(vm)
    vm.run([*_CURL, _HELLO]).check()
    assert not stray(capture)


def test_down_goes_through_the_service(owned: Ramnet, vm: Vm) -> None:
    """And without one, it takes what is nobody's any more."""
    owned.down().check()
    assert not rules(vm)
    owned.stop()
    owned.start(POLICY)
    owned.stop()
    assert "flags persist" in rules(vm)
    owned.down().check()
    assert not rules(vm)
