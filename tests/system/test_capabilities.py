"""Whatever a kernel lacks: all promises hold, or the start is refused by name and all is refused.

Each capability is taken away alone, and those that real kernels lack together
(RAMNET_WITHOUT; what WSL's and LinuxKit's kernels have is read from their configs). A real
service is started each time, and the probes of tests/leaks are at work under it.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

import pytest

from ramnet.ruleset import Capabilities
from tests.lab import Lab
from tests.lab.service import DEFAULT_CONFIG
from tests.leaks import probes
from tests.leaks.conftest import local_service
from tests.leaks.harness import POLICY, Prober, forbidden_among
from tests.leaks.ways import EXEC

__all__ = ["local_service"]

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("local_service")]

_NO_SOCKET: Final = "socket_cgroupv2,socket_lookup"
_NO_OWNER: Final = "owner,persist"
_NOTHING_OF_CT: Final = "ct,ct_mark,nat_redirect,reject,counter,dynamic_sets"
KERNELS: Final = {
    "WSL 4.19": f"sets,{_NOTHING_OF_CT},route_chain,policy_routing6,{_NO_SOCKET},{_NO_OWNER}",
    "WSL 5.10": f"{_NOTHING_OF_CT},policy_routing6,{_NO_SOCKET},{_NO_OWNER}",
    "WSL 5.15": f"policy_routing6,{_NO_OWNER}",
    "WSL 6.6": f"{_NO_SOCKET},policy_routing6,persist",
    "LinuxKit 5.4": f"sets,dynamic_sets,{_NO_SOCKET},{_NO_OWNER}",
    "LinuxKit 5.10": f"{_NO_SOCKET},{_NO_OWNER}",
}
IMPOSSIBLE: Final = {
    "skuid": ["skuid"],
    "nat_redirect,transparent": ["nat_redirect", "transparent"],
    "ct,gate_namespace": ["ct", "gate_namespace"],
    "reject,policy_routing4": ["reject", "policy_routing4"],
    "sets,route_chain,route_chain_ip": ["sets", "route_chain"],
}
"""What no tier can do without, and what the refusal must name."""

_EACH = {name: name for name in Capabilities().listed() if name not in IMPOSSIBLE}
_WALKED = {**_EACH, **KERNELS}
_PROMISED = ("allowed", "loopback", "inbound")
_ENOUGH = 200
"""Probes; each of those that must not leave is made more than once then."""
_PATIENCE = 40.0


def watch(lab: Lab, promised: tuple[str, ...], enter: tuple[str, ...] = ()) -> None:
    """Nothing forbidden leaves, and what is promised works; as long as that takes to be seen."""
    flows = [p for p in (*probes.allowed(), *probes.bystanders_inside()) if p["name"] in promised]
    within = probes.plan([*probes.forbidden(), *flows], each=4)
    without = [p for p in probes.bystanders_outside() if p["name"] in promised]
    made, well, until = 0, set[str](), time.monotonic() + _PATIENCE
    with lab.capture() as capture:
        while made < _ENOUGH or well < {*promised}:
            assert time.monotonic() < until, (made, well)
            inside = Prober(lab.vm, "inside", within, enter)
            outside = Prober(lab.inet, "outside", probes.plan(without, tick=0.02))
            lab.vm.run(["sleep", "0.6"]).check()
            for outcome in (inside.stop(), outside.stop()):
                assert not outcome.reached, outcome.reached
                found = outcome.samples.items()
                well |= {name for name, samples in found if any(ok for _, ok in samples)}
                made += outcome.made
        left = forbidden_among(capture.settle())
    assert not left, str(left)


@pytest.mark.parametrize("without", _WALKED.values(), ids=_WALKED)
def test_all_promises_hold(lab: Lab, without: str) -> None:
    ramnet = lab.ramnet
    ramnet.without = without
    try:
        ramnet.start(POLICY)
        scope = ramnet.status()["scopes"][0]
        assert {*without.split(",")} <= {*scope["missing_capabilities"]}
        watch(lab, _PROMISED)
    finally:
        ramnet.close()
        ramnet.without = ""


@pytest.mark.parametrize(("without", "named"), IMPOSSIBLE.items(), ids=IMPOSSIBLE)
def test_a_refused_start_refuses_everything(lab: Lab, without: str, named: list[str]) -> None:
    """``hold`` was never run: what ``run`` leaves is enough."""
    ramnet = lab.ramnet
    ramnet.without = without
    try:
        ramnet.write_config()
        ramnet.write_policy(POLICY)
        refused = ramnet.command("run")
        assert refused.code == 4, refused.text
        assert all(name in refused.err for name in named), refused.err
        assert "Traceback" not in refused.err
        watch(lab, ("loopback", "inbound"))
    finally:
        ramnet.close()  # and ``down`` takes the hold away
        ramnet.without = ""
    assert "ramnet" not in lab.vm.run(["nft", "list", "tables"]).check().out


def test_a_refused_start_leaves_rules_that_stand(lab: Lab) -> None:
    """Those of the service before it refuse already."""
    ramnet = lab.ramnet
    try:
        ramnet.start(POLICY)
        ramnet.stop()
        before = lab.vm.run(["nft", "-s", "list table inet ramnet"]).check().out
        ramnet.without = "skuid"
        assert ramnet.command("run").code == 4
        assert lab.vm.run(["nft", "-s", "list table inet ramnet"]).check().out == before
    finally:
        ramnet.close()
        ramnet.without = ""


@pytest.mark.parametrize(
    ("without", "scoping"),
    [
        ("", "cgroup2"),
        ("socket_cgroupv2", "net_cls"),
        ("socket_cgroupv2,meta_cgroup", "namespace"),
        ("nat_redirect", "namespace"),
    ],
)
def test_a_cgroup_is_told_apart_by_the_next_best(lab: Lab, without: str, scoping: str) -> None:
    ramnet = lab.ramnet
    ramnet.without = without
    scoped = 'netns = "self"\ncgroup = "ramnet-cap.slice"\n'
    config = DEFAULT_CONFIG.replace('netns = "self"\n', scoped)
    try:
        ramnet.start(POLICY, config=config)
        scope: dict[str, Any] = ramnet.status()["scopes"][0]
        assert scope["scoping"] == scoping, json.dumps(scope, indent=1)
        watch(lab, _PROMISED, EXEC)
    finally:
        ramnet.close()
        ramnet.without = ""
