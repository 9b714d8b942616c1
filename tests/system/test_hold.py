"""`ramnet hold`: from boot on, between two runs, and taken away without a trace."""

from __future__ import annotations

import os
import time

import pytest

from tests.lab import Capture, Ramnet
from tests.lab import addresses as at
from tests.lab.processes import wait_until
from tests.lab.service import DEFAULT_CONFIG, PROGRAM
from tests.lab.vm import Vm
from tests.system.conftest import POLICY, stray
from tests.system.test_life import Prober

pytestmark = pytest.mark.lab

SLICE = f"ramnet-lists-{os.getpid()}.slice"
_CURL = ["curl", "--silent", "--show-error", "--max-time", "5"]
_HELLO = f"https://{at.FILES_ALLOWED.name}/hello.txt"
# Other labs of this machine have theirs beside them.
_OWN_CGROUPS = (
    "ls -d /sys/fs/cgroup/unified/ramnet*-$(stat -Lc %i /proc/self/ns/net) "
    f"/sys/fs/cgroup/*/{SLICE}*/* /sys/fs/cgroup/*/{SLICE} 2>&1; true"
)
_LISTINGS = (
    "nft list ruleset",
    "ip route show table all",
    "ip -6 route show table all",
    "ip rule",
    "ip -6 rule",
    "ip link",
    _OWN_CGROUPS,
    "findmnt -rno TARGET | grep -E '^/run/ramnet|^/sys/fs/cgroup'",
    "cd /proc/sys/net && head ipv4/tcp_fwmark_accept ipv4/fwmark_reflect ipv6/fwmark_reflect "
    "ipv4/ip_forward ipv4/conf/*/rp_filter ipv4/conf/*/route_localnet",
)
_WAYS = {
    "redirect": ("", ""),
    "anyip": ("nat_redirect", ""),
    "cgroup2": ("", f'cgroup = "{SLICE}/below"'),
    "net_cls": ("socket_cgroupv2", f'cgroup = "{SLICE}/below"'),
}


def listing(vm: Vm) -> list[str]:
    wait_until(
        "settled addresses", lambda: "tentative" not in vm.run(["ip", "-6", "addr"]).check().out
    )
    return [vm.run(["sh", "-c", command]).check().out for command in _LISTINGS]


def test_nothing_leaves_between_hold_and_the_first_verdict(
    ramnet: Ramnet, vm: Vm, capture: Capture
) -> None:
    ramnet.close()
    ramnet.write_config(None)
    with Prober(vm).at_work():
        while not capture.settle().sent_by_vm().protocol("tcp", "udp"):
            time.sleep(0.01)  # the prober is seen
        ramnet.command("hold").check()
        held = time.monotonic()
        assert not vm.run([*_CURL, _HELLO]).ok
        ramnet.start(POLICY)
        vm.run([*_CURL, _HELLO]).check()
    # A SYN+ACK that a server sends again, for a connection that hold has cut, gets a bare RST.
    left = stray(capture).where(lambda packet: packet.time > held)
    assert not left


def test_hold_after_a_stopped_service(ramnet: Ramnet, vm: Vm, capture: Capture) -> None:
    ramnet.start(POLICY)
    capture.clear()
    with Prober(vm).at_work():
        ramnet.stop()
        ramnet.command("hold").check()
        refused = vm.run([*_CURL, _HELLO])
        assert not refused.ok
        assert refused.seconds < 3
        ramnet.start(POLICY)
        vm.run([*_CURL, _HELLO]).check()
    assert not stray(capture)


def test_hold_does_not_touch_a_running_service(ramnet: Ramnet, vm: Vm) -> None:
    ramnet.start(POLICY)
    held = ramnet.command("hold")
    assert held.code == 1
    assert "ramnet runs, and its own rules stand" in held.err
    vm.run([*_CURL, _HELLO]).check()


@pytest.mark.parametrize(
    "steps", ["hold", "run", "hold run", "run hold", "run run", "run kill", "running"]
)
@pytest.mark.parametrize("way", _WAYS)
def test_down_leaves_nothing_behind(ramnet: Ramnet, vm: Vm, way: str, steps: str) -> None:
    """Tables, rules, routes, links, cgroups, mounts, sysctls: a listing before and after."""
    ramnet.close()
    before = listing(vm)
    ramnet.without, scope = _WAYS[way]
    config = DEFAULT_CONFIG.replace('netns = "self"\n', f'netns = "self"\n{scope}\n')
    try:
        ramnet.write_config(config)
        for step in steps.split():
            if step == "hold":
                ramnet.command("hold").check()
            elif step == "run":
                ramnet.start(POLICY, config=config)
                ramnet.stop()
        if step == "kill":
            ramnet.start(POLICY, config=config)
            ramnet.signal(ramnet.gate_pid())
            ramnet.stop()
        if step == "running":
            ramnet.start(POLICY, config=config)
        assert listing(vm) != before
        ramnet.down().check()
        ramnet.stop()
    finally:
        ramnet.without = ""
    assert listing(vm) == before


def test_down_takes_away_a_hold_that_had_no_configuration(ramnet: Ramnet, vm: Vm) -> None:
    ramnet.close()
    before = listing(vm)
    held = vm.run([PROGRAM, "hold", "--config", "/none"])
    assert held.code == 2
    assert "chain held" in vm.run(["nft", "list", "ruleset"]).out
    ramnet.write_config(None)
    ramnet.down().check()
    assert listing(vm) == before
