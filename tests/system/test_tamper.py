"""Another tool destroys the rules under a running service and a running dockerd.

Tables that it cannot touch are in test_ownership.py; here they are anybody's.
"""

from __future__ import annotations

from functools import partial

import pytest

from tests.lab import Capture, Docker, Ramnet
from tests.lab import addresses as at
from tests.lab.processes import wait_until
from tests.lab.vm import Vm
from tests.system.conftest import stray
from tests.system.test_life import Prober

pytestmark = [
    pytest.mark.lab,
    pytest.mark.parametrize("tier", ["redirect, anybody's"], indirect=True, scope="module"),
]

_CURL = ["curl", "--silent", "--show-error", "--max-time", "5"]
_HELLO = f"https://{at.FILES_ALLOWED.name}/hello.txt"
_PROMISE = 0.1


def rules(vm: Vm) -> str:
    return vm.run(["nft", "-s", "-t", "list table inet ramnet"]).out


def wait_event(ramnet: Ramnet, words: str) -> None:
    wait_until(
        f"an event with {words!r}",
        lambda: any(words in (event["reason"] or "") for event in ramnet.events()),
    )


@pytest.mark.parametrize(
    ("command", "event"),
    [
        ("nft flush ruleset", "our table was removed by nft (pid"),
        ("nft delete table inet ramnet", "our table was removed by nft (pid"),
        ("nft insert rule inet ramnet output accept", "added `accept` by nft (pid"),
        ("nft flush chain inet ramnet output", "removed `"),
    ],
)
def test_rules_are_back_at_once(
    enforced: Ramnet, vm: Vm, capture: Capture, command: str, event: str
) -> None:
    """The window in which packets of a prober leave; the best of three is held to the promise."""
    before = rules(vm)
    windows = []
    with Prober(vm).at_work():
        for _ in range(3):
            capture.clear()
            vm.run(command.split()).check()
            wait_until("the rules", lambda: rules(vm) == before)
            times = sorted(packet.time for packet in stray(capture))
            windows.append(times[-1] - times[0] if times else 0.0)
        capture.clear()
        vm.run([*_CURL, _HELLO]).check()
        assert not stray(capture)
    print(f"{command}: open for", ", ".join(f"{1000 * window:.1f} ms" for window in windows))
    assert min(windows) <= _PROMISE
    wait_event(enforced, event)


def test_a_deleted_sinkhole_route_is_back(enforced: Ramnet, vm: Vm) -> None:
    vm.run(["ip", "route", "del", "240.0.0.1/32"]).check()
    wait_until("the route", lambda: "240.0.0.1" in vm.run(["ip", "route"]).out)
    wait_event(enforced, "the route to 240.0.0.1/32 was removed")


def test_a_restart_of_dockerd_leaves_both_working(
    enforced: Ramnet, docker: Docker, vm: Vm, capture: Capture
) -> None:
    before = rules(vm)
    docker.restart()
    assert rules(vm) == before
    docker.run("pull", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}").check()
    assert not docker.run("pull", f"{at.REGISTRY_BLOCKED.name}/{at.IMAGE}").ok
    assert not stray(capture)
    docker.forget()


def test_a_flush_under_docker_leaves_ours_restored(
    enforced: Ramnet, docker: Docker, vm: Vm, capture: Capture
) -> None:
    before = rules(vm)
    vm.run(["nft", "flush", "ruleset"]).check()
    wait_until("the rules", lambda: rules(vm) == before)
    docker.run("pull", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}").check()
    assert not docker.run("pull", f"{at.REGISTRY_BLOCKED.name}/{at.IMAGE}").ok
    assert not stray(capture)
    docker.forget()
    docker.restart()  # its own rules are its own matter


def _is_served(vm: Vm, port: int) -> bool:
    listed = vm.run(["nft", "list", "set", "inet", "ramnet", "listening"]).check().out
    return str(port) in listed


def test_our_own_changes_are_no_events(enforced: Ramnet, vm: Vm) -> None:
    """Listening ports come and go; nothing of that is somebody else's doing."""
    count = len([e for e in enforced.events() if "set again" in (e["reason"] or "")])
    for port in range(7001, 7005):
        with vm.socket() as sock:
            sock.bind(("127.0.0.1", port))
            sock.listen()
            wait_until(f"port {port} in the set", partial(_is_served, vm, port))
    assert count == len([e for e in enforced.events() if "set again" in (e["reason"] or "")])
