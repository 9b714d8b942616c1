"""The machine around the service: its disk, descriptors, clock, dockerd, and other tools."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab import addresses as at
from tests.lab.processes import wait_until
from tests.leaks.conftest import config_of, enforce
from tests.leaks.harness import OUTSIDE, POLICY, Harness, another_gate, another_supervisor
from tests.leaks.probes import PUBLISHED_PORT

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

#: Seconds that another tool's flush may leave the scope open (issue 3, 6). The best of the rounds
#: is held to it and all are reported: what a machine with much else to do adds says nothing of
#: the mending, and what leaves after health was seen is a leak in any round.
FLUSH_LIMIT = 0.1
_FLUSHES = 4
_SMALL = "/run/small"
_FAKETIME = "/run/faketime"


def test_another_tool_flushes_the_ruleset(harness: Harness, rounds: int) -> None:
    """The window: from the first packet out to the last; none where the table is ours alone."""
    vm, windows = harness.lab.vm, []
    table = harness.lab.ramnet.status()["scopes"][0]["table"]
    owned = "flags owner" in vm.run(["nft", "list", "table", "inet", table]).check().out
    with harness.watch("flush ruleset", promised=["inbound"]) as watch:
        for _ in range(max(_FLUSHES, rounds)):
            watch.harm()
            vm.run(["nft", "flush", "ruleset"]).check()
            watch.healthy(lambda status: status["scopes"][0]["rules"]["intact"])
            windows.append(1000 * watch.measured())
        each = ", ".join(f"{window:.0f}" for window in windows)
        watch.row.note = f"open for {each} ms"
        if owned:
            watch.row.note = "the kernel lets nobody else touch the table"
            assert max(windows) == 0, each
    _restart_dockerd(harness)  # its rules went too, and nobody else makes them
    assert min(windows) <= 1000 * FLUSH_LIMIT, each


def _restart_dockerd(harness: Harness) -> None:
    """Until the container's page can be had from outside again."""
    harness.lab.docker.restart()
    fetch = ["curl", "-sS", "--max-time", "5", f"http://{at.VM_IPV4}:{PUBLISHED_PORT}/label"]
    wait_until("the published port", lambda: harness.lab.inet.run(fetch).ok, 60)


@pytest.fixture
def small_disk(service: Lab) -> Iterator[Callable[[], None]]:
    """A tiny file system for the state; what is returned fills it."""
    vm = service.vm
    vm.run(["mkdir", "-p", _SMALL]).check()
    vm.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=32,mode=755", "tmpfs", _SMALL]
    ).check()

    def fill() -> None:
        vm.run(
            [
                "sh",
                "-c",
                f"cd {_SMALL}; cat /dev/zero >ballast; while mkdir $((i += 1)); do :; done",
            ]
        )

    yield fill
    service.ramnet.close()
    vm.run(["umount", "--lazy", _SMALL]).check()


def _small_config(harness: Harness) -> str:
    return config_of(harness.lab, harness.way).replace("{state}", f"{_SMALL}/state")


def test_the_disk_fills_up(bare: Harness, small_disk: Callable[[], None], rounds: int) -> None:
    """Audit events and the last good policy are lost, and said to be; nothing else is."""
    ramnet = bare.lab.ramnet
    ramnet.start(POLICY, config=_small_config(bare))
    with bare.watch("state disk full", promised=OUTSIDE) as watch:
        watch.harm()
        small_disk()
        ramnet.set_policy(POLICY + "\n# another\n")
        watch.healthy(lambda status: bool(status["policy"]["last_good_error"]))
        ramnet.signal(ramnet.gate_pid())
        watch.healthy(lambda status: status["scopes"][0]["restarts"] > 0)
        old = ramnet.supervisor_pid()
        ramnet.signal(old)
        watch.healthy(another_supervisor(old))


def test_a_start_on_a_full_disk(bare: Harness, small_disk: Callable[[], None]) -> None:
    """Its directories cannot even be made: the rules must stand all the same."""
    ramnet = bare.lab.ramnet
    small_disk()
    ramnet.start(POLICY, config=_small_config(bare))
    with bare.watch("start on a full disk", promised=OUTSIDE) as watch:
        old = ramnet.supervisor_pid()
        watch.harm()
        ramnet.signal(old)
        watch.healthy(another_supervisor(old))


def _limit(harness: Harness, pid: int, spare: int | None = None) -> None:
    """Leave a process of the vm `spare` descriptors more than it has, or all that it may have.

    As the user that it runs as: CAP_SYS_RESOURCE, which root would need, is not everywhere.
    """
    vm = harness.lab.vm
    status = vm.path(f"/proc/{pid}/status").read_text()
    uid = status.partition("Uid:")[2].split()[0]
    limits = vm.path(f"/proc/{pid}/limits").read_text()
    most = limits.partition("Max open files")[2].split()[1]
    has = max(map(int, vm.run(["ls", f"/proc/{pid}/fd"]).check().out.split())) + 1
    files = most if spare is None else str(has + spare)
    vm.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
         "prlimit", f"--pid={pid}", f"--nofile={files}:"]
    ).check()  # fmt: skip


@pytest.mark.parametrize("who", ["gate", "supervisor"])
def test_descriptors_run_out(harness: Harness, who: str) -> None:
    """No connection can be taken, or dialled, until there are some again."""
    ramnet = harness.lab.ramnet
    pid = ramnet.gate_pid() if who == "gate" else ramnet.supervisor_pid()
    with harness.watch(f"no descriptors left in the {who}", promised=OUTSIDE) as watch:
        watch.harm()
        _limit(harness, pid, 1)
        time.sleep(2)
        _limit(harness, pid)
        watch.healthy()
    assert pid in (ramnet.gate_pid(), ramnet.supervisor_pid()), "it must go on"


def test_no_descriptors_for_the_next_gate(harness: Harness) -> None:
    """The gate dies and none can be started until there are descriptors again."""
    ramnet = harness.lab.ramnet
    supervisor, gate = ramnet.supervisor_pid(), ramnet.gate_pid()
    with harness.watch("no descriptors for the next gate", promised=OUTSIDE) as watch:
        watch.harm()
        _limit(harness, supervisor, 0)
        ramnet.signal(gate)
        time.sleep(2)
        _limit(harness, supervisor)
        watch.healthy(another_gate(gate))
    assert ramnet.supervisor_pid() == supervisor, "it must go on"


def test_dockerd_is_restarted(harness: Harness) -> None:
    """Docker takes its published ports away meanwhile, nothing else."""
    with harness.watch("dockerd restart", promised=["inbound"]) as watch:
        watch.harm()
        _restart_dockerd(harness)
        watch.healthy()


def test_the_clock_jumps(bare: Harness) -> None:
    """A year on and ten back, for supervisor and gate; libfaketime stands for the clock."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries or shutil.which("faketime") is None:
        pytest.skip("needs libfaketime (Debian: faketime); no namespace shifts CLOCK_REALTIME")
    ramnet, vm = bare.lab.ramnet, bare.lab.vm
    vm.write(_FAKETIME, "+0\n")
    vm.path(_FAKETIME).chmod(0o644)
    ramnet.environment = {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": _FAKETIME,
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    try:
        ramnet.start(POLICY, config=config_of(bare.lab, bare.way))
        with bare.watch("clock jumps") as watch:
            for jump in ("+365d", "-3650d", "+0"):
                watch.harm()
                vm.write(_FAKETIME, f"{jump}\n")
                time.sleep(1.5)
                watch.healthy()
                ramnet.set_policy(f"{POLICY}\n# {jump}\n")
            events = ramnet.events("--denied")
            years = {event["time"][:4] for event in events}
            assert len(years) > 1, "the clock did not jump"
    finally:
        ramnet.close()
        ramnet.environment = {}
    enforce(bare.lab, bare.way)
