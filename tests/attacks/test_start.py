"""What is older than the policy or the rules, and what may come before them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.attacks.tools import (
    ALLOWED,
    BLOCKED,
    EXPLICIT,
    FAMILIES,
    LEAKED,
    OPEN,
    SENTENCE,
    connect,
    connected,
    get,
    read_all,
    speak,
    start_python,
    tunnel,
    wait_led_to_the_gate,
)
from tests.lab import Capture, LabError, Ramnet
from tests.lab import addresses as at
from tests.lab.inet import Inet
from tests.lab.vm import Vm
from tests.system.conftest import POLICY, stray

pytestmark = pytest.mark.lab

BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
_IPV6_FREEBIND = 78


@BOTH
def test_connections_older_than_the_policy(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int
) -> None:
    """harden-runner: what was established survived a policy.

    Shown by: `Flows._policy_changed` doing nothing.
    """
    enforced.set_policy(POLICY + f'[[registry]]\nhost = "{BLOCKED.name}"\n')
    with connected(vm, BLOCKED.addresses[family], 80) as sock:
        sock.sendall(f"GET /hello.txt HTTP/1.1\r\nHost: {BLOCKED.name}\r\n\r\n".encode())
        assert LEAKED in sock.recv(4096).decode()
        enforced.set_policy(POLICY)
        capture.clear()
        with contextlib.suppress(OSError):
            sock.sendall(get(BLOCKED.name))
            assert read_all(sock) == b""
    assert not stray(capture).where(lambda packet: "R" not in packet.tcp_flags)


@pytest.fixture
def unprotected(enforced: Ramnet) -> Iterator[Ramnet]:
    """No rules yet, and the machine's conntrack at work."""
    enforced.down().check()
    enforced.stop()
    yield enforced
    with contextlib.suppress(LabError):
        enforced.start(POLICY)


@BOTH
def test_connections_older_than_the_rules(
    unprotected: Ramnet, vm: Vm, inet: Inet, capture: Capture, family: int
) -> None:
    """NAT sees first packets only. One that is idle, one that receives, and UDP.

    Shown by: no redirect of TCP, chain `output` with policy accept and without its last line.
    """
    far = at.ANYWHERE.addresses[family]
    with (
        connected(vm, far, 2525) as idle,
        vm.socket(FAMILIES[family], socket.SOCK_DGRAM) as udp,
        inet.socket(FAMILIES[family], socket.SOCK_DGRAM) as server,
    ):
        assert idle.recv(3) == b"220"
        if family:
            server.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        server.bind((far, 4433))
        udp.settimeout(1)
        udp.connect((far, 4433))
        udp.send(b"before")
        server.sendto(*server.recvfrom(9))
        assert udp.recv(9) == b"before"
        unprotected.start(POLICY)
        capture.clear()
        for sock in (idle, udp):
            with contextlib.suppress(OSError):
                sock.send(b"5ec7e7")
                sock.recv(9)
                sock.send(b"5ec7e7")
    assert not capture.settle().sent_by_vm().where(lambda p: b"5ec7e7" in p.data)


_SQUATTER = """
import os, socket
os.setuid(65534)
listener = socket.create_server(("127.0.0.1", 3128))
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    print("heard", client.recv(99), flush=True)
"""


def test_somebody_has_the_explicit_proxys_port(
    unprotected: Ramnet, vm: Vm, capture: Capture
) -> None:
    """Any user may listen there before us; the rules stand all the same, and he is asked nothing.

    Shown by: `open_listeners` raising where an explicit address cannot be bound; this was a hole.
    """
    squatter = start_python(vm, _SQUATTER, log="squatter")
    try:
        unprotected.start(POLICY)
        wait_led_to_the_gate(vm, 3128)
        capture.clear()
        assert SENTENCE in speak(vm, ALLOWED.ipv4, 80, get(BLOCKED.name))
        assert OPEN in tunnel(vm, EXPLICIT, f"{ALLOWED.name}:80", get(ALLOWED.name))
        assert SENTENCE in speak(vm, *EXPLICIT, connect(f"{BLOCKED.name}:80"))
        assert "cannot be bound" in str(unprotected.status()["warnings"])
    finally:
        squatter.stop()
        unprotected.stop()
    assert "heard" not in squatter.log()
    assert not stray(capture)


def test_rules_before_the_gate(unprotected: Ramnet, vm: Vm, capture: Capture) -> None:
    """A race at the start: from the first rule on nothing leaves, whether a gate is there or not.

    Shown by: no redirect of TCP, chain `output` with policy accept and without its last line.
    """
    unprotected.start(POLICY)
    gate = unprotected.gate_pid()
    unprotected.signal(gate, "STOP")
    capture.clear()
    try:
        with vm.socket() as sock:
            sock.settimeout(0.5)
            sock.connect((BLOCKED.ipv4, 80))  # the kernel's backlog says yes for the gate
            sock.sendall(get(BLOCKED.name))
            with pytest.raises(OSError):
                sock.recv(1)
    finally:
        unprotected.signal(gate, "CONT")
    assert not stray(capture)
    unprotected.wait_status(lambda status: status["state"] == "enforcing")
    assert SENTENCE in speak(vm, ALLOWED.ipv4, 80, get(BLOCKED.name))
