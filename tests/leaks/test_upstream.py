"""Upstream DNS dead, and lying."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import addresses as at
from tests.lab.inet import Inet
from tests.leaks import probes
from tests.leaks.harness import OUTSIDE, Harness, another_gate

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

#: Not used by any probe, so that only this file resolves it.
_LIED_ABOUT = at.LOGIN_ALLOWED
_LIES = {
    "loopback": ("127.0.0.1", "::1"),
    "own": (at.VM_IPV4, at.VM_IPV6),
    "sinkhole": ("240.0.0.1", "100::1"),
    "unspecified": ("0.0.0.0", "::"),  # Linux connects to itself
    "mapped": ("127.0.0.53", "::ffff:127.0.0.1"),
}


@contextmanager
def name_server_stopped(inet: Inet) -> Iterator[None]:
    """Questions wait in its socket meanwhile."""
    server = inet.resolver.process
    server.send(signal.SIGSTOP)
    try:
        yield
    finally:
        server.go_on()


def test_upstream_is_dead(harness: Harness) -> None:
    """Mute, and the gate's cache lost: refused, no other server is asked, well when it is back."""
    ramnet = harness.lab.ramnet
    old = ramnet.gate_pid()
    with harness.watch("upstream DNS dead", promised=OUTSIDE) as watch:
        with name_server_stopped(harness.lab.inet):
            ramnet.signal(old)
            time.sleep(3)
            watch.harm()
        watch.healthy(another_gate(old))


@pytest.mark.parametrize("lie", _LIES)
def test_upstream_lies(harness: Harness, lie: str) -> None:
    """An allowed name at addresses that are never given and never dialled.

    The vm's own service listens on every address: the gate would reach it.
    """
    lab, name = harness.lab, _LIED_ABOUT.name
    asked = ["dig", "+short", "+time=3", f"@{at.RESOLVER.ipv4}", name]
    url = f"http://{name}:{probes.LOCAL_PORT}/"
    curl = ["curl", "--silent", "--http0.9", "--max-time", "3",
            "--resolve", f"{name}:{probes.LOCAL_PORT}:{_LIED_ABOUT.ipv4}", url]  # fmt: skip
    lab.inet.resolver.give(name, *_LIES[lie])
    old = lab.ramnet.gate_pid()
    lab.ramnet.signal(old)  # with its cache
    try:
        with harness.watch(f"upstream DNS lies: {lie}", promised=OUTSIDE) as watch:
            watch.healthy(another_gate(old))
            watch.harm()
            for type_ in ("A", "AAAA"):
                told = watch.run([*asked, type_]).check().out.split()
                assert not set(told) & set(_LIES[lie]) - {"240.0.0.1", "100::1"}, told
            assert "220 inet" not in watch.run(curl).text
            watch.healthy()
    finally:
        lab.inet.resolver.give(name, *_LIED_ABOUT.addresses)


def test_upstream_gives_a_blocked_address(harness: Harness) -> None:
    """Who answers for an allowed name decides where it is; a blocked *name* goes nowhere."""
    lab, site = harness.lab, _LIED_ABOUT
    lab.inet.resolver.give(site.name, *at.REGISTRY_BLOCKED.addresses)
    old = lab.ramnet.gate_pid()
    lab.ramnet.signal(old)
    url, host = f"http://{site.name}/v2/", f"Host: {at.REGISTRY_BLOCKED.name}"
    try:
        with harness.watch(
            "upstream DNS lies: blocked site",
            promised=OUTSIDE,
            permitted=[at.REGISTRY_BLOCKED],
        ) as watch:
            watch.healthy(another_gate(old))
            curl = ["curl", "--silent", "--max-time", "3", "--noproxy", "*"]
            watch.run([*curl, url])
            got = watch.run([*curl, "--header", host, url])
            assert "disallowed" in got.text
    finally:
        lab.inet.resolver.give(site.name, *site.addresses)
