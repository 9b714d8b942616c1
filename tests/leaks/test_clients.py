"""Clients without measure: thousands at once, and hundreds that hardly speak."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import addresses as at
from tests.lab.processes import LabError, wait_until
from tests.leaks import probes
from tests.leaks.harness import OUTSIDE, Harness

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

_CROWD = Path(__file__).with_name("crowd.py")


@contextmanager
def crowd(harness: Harness, name: str, plan: dict[str, Any]) -> Iterator[dict[str, int]]:
    """crowd.py at work; what it counted at its end is in the dictionary after the block."""
    vm = harness.lab.vm
    vm.write(f"/run/leaks/{name}.json", json.dumps(plan))
    process = vm.start(
        [*harness.way.enter, "prlimit", "--nofile=16384", "/usr/bin/python3", "-I", "-S",
         str(_CROWD), f"/run/leaks/{name}.json"], log=name,
    )  # fmt: skip
    counted: dict[str, int] = {}
    wait_until(f"{name} connected", lambda: "ready" in process.log(), 60)
    yield counted
    process.stop()
    last = process.log().splitlines()[-1]
    if not last.startswith("{"):
        raise LabError(process.tail())
    counted.update(json.loads(last))


def test_five_thousand_connections_at_once(harness: Harness) -> None:
    """They open, say nothing and stay; others are served all the same."""
    plan = {"address": at.ANYWHERE.ipv4, "port": 443, "count": 5000, "bytes": "", "seconds": 0}
    ramnet = harness.lab.ramnet
    gate = ramnet.gate_pid()
    with harness.watch("5,000 connections at once", promised=OUTSIDE) as watch:
        watch.harm()
        with crowd(harness, "crowd-many", plan) as counted:
            watch.healthy()
        watch.healthy()
        watch.row.note = f"{counted['connected']} connected, {counted['closed']} closed by the gate"
    assert counted["connected"] + counted["refused"] == 5000
    assert ramnet.gate_pid() == gate


@pytest.mark.parametrize("port", [80, 443, 53])
def test_slow_clients(harness: Harness, port: int) -> None:
    """Hundreds that send one byte a second: nobody else waits for them."""
    sent = {
        80: probes.request(at.REGISTRY_BLOCKED.name),
        443: probes.hello(at.REGISTRY_BLOCKED.name),
        53: b"\x00\x40" + bytes(64),
    }[port]
    address = at.ANYWHERE.ipv4 if port != 53 else at.FOREIGN_RESOLVER.ipv4
    plan = {"address": address, "port": port, "count": 400, "bytes": sent.hex(), "seconds": 1}
    with harness.watch(f"400 slow clients on {port}", promised=OUTSIDE) as watch:
        watch.harm()
        with crowd(harness, f"crowd-{port}", plan) as counted:
            watch.healthy()
        watch.healthy()
        watch.row.note = f"{counted['connected']} connected, {counted['closed']} closed by the gate"
