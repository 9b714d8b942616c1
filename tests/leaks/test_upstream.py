"""Upstream DNS dead, and lying."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Process
from tests.lab import addresses as at
from tests.lab.inet import Inet
from tests.leaks.harness import Harness

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

_LIES = {
    "loopback": ("127.0.0.1", "::1"),
    "own": (at.VM_IPV4, at.VM_IPV6),
    "blocked site": at.REGISTRY_BLOCKED.addresses,
}


@contextmanager
def name_server_stopped(inet: Inet) -> Iterator[None]:
    """SIGSTOP and SIGCONT: questions wait in its socket, or are lost."""
    pids = inet.run(["pgrep", "-f", f"dnsmasq.*{at.RESOLVER.ipv4}"]).check().out.split()
    inet.run(["kill", "-STOP", *pids]).check()
    try:
        yield
    finally:
        inet.run(["kill", "-CONT", *pids]).check()


def test_upstream_is_dead(harness: Harness) -> None:
    """Mute for seconds: what is not in the cache is refused, and no other server is asked."""
    with harness.watch("upstream DNS dead") as watch:
        with name_server_stopped(harness.lab.inet):
            time.sleep(3)
            watch.harm()
        watch.healthy()
