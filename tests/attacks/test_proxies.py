"""Proxies: whatever one is asked for, by CONNECT or SOCKS, is decided by name and dialled by us."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.attacks.tools import (
    ALLOWED,
    BLOCKED,
    EXPLICIT,
    LEAKED,
    OPEN,
    SENTENCE,
    connect,
    connected,
    get,
    read_all,
    server,
    socks4,
    socks5,
    speak,
    tunnel,
    wait_led_to_the_gate,
)
from tests.lab import Capture, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import stray

pytestmark = pytest.mark.lab

PROXIES = pytest.mark.parametrize(
    "proxy",
    [EXPLICIT, (at.ANYWHERE.ipv4, 8080), (at.ANYWHERE.ipv6, 8080), ("::1", 1080)],
    ids=["explicit", "far-ipv4", "far-ipv6", "loopback"],
)
_SERVICES = [("::1", 1080), ("127.0.0.1", 7777), ("::1", 7777)]
TARGETS = {
    "blocked": f"{BLOCKED.name}:80",
    "brackets": f"[{ALLOWED.name}]:80",
    "blocked-in-brackets": f"[{BLOCKED.name}]:80",
    "address": f"{BLOCKED.ipv4}:80",
    "address-of-an-allowed-name": f"{ALLOWED.ipv4}:80",
    "ipv6": f"[{BLOCKED.ipv6}]:80",
    "ipv6-without-brackets": f"{BLOCKED.ipv6}:80",
    "ipv6-with-zone": f"[{BLOCKED.ipv6}%eth0]:80",
    "ipv4-mapped": f"[::ffff:{BLOCKED.ipv4}]:80",
    "loopback": "127.0.0.1:7777",
    "loopback-short": "127.1:7777",
    "loopback-ipv6": "[::1]:7777",
    "localhost": "localhost:7777",
    "unspecified": "0.0.0.0:7777",
    "own-address": f"{at.VM_IPV4}:7777",
    "sinkhole": "240.0.0.1:80",
    "transparent-listener": "127.0.0.1:928",
    "resolver": "127.0.0.1:927",
    "explicit-listener": "127.0.0.1:3128",
    "user": f"{ALLOWED.name}:80@{BLOCKED.name}:80",
    "user-first": f"u@{ALLOWED.name}:80",
    "two-ports": f"{ALLOWED.name}:80:80",
    "no-port": ALLOWED.name,
    "port-0": f"{ALLOWED.name}:0",
    "port-too-large": f"{ALLOWED.name}:65616",
    "percent": f"files%2eblocked.example:80#{ALLOWED.name}",
    "uri": f"http://{BLOCKED.name}:80/",
    "nothing": ":80",
}


@pytest.fixture(scope="module")
def services(vm: Vm) -> Iterator[list[list[bytes]]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server(vm, *where)) for where in _SERVICES]


@pytest.fixture(autouse=True)
def local(enforced: Ramnet, vm: Vm, services: list[list[bytes]]) -> Iterator[None]:
    """A proxy and a service on loopback: the one is never asked, the other never reached."""
    for _, port in _SERVICES:
        wait_led_to_the_gate(vm, port)
    yield
    heard = [data for service in services for data in service]
    for service in services:
        service.clear()
    assert heard == []


@PROXIES
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_connect(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: tuple[str, int], target: str
) -> None:
    """To an address, in brackets (smokescreen), to the gate itself, to loopback.

    On loopback itself a proxy listens that the gate never asks.

    Shown by: `Judge.decide` allowing every name; `rule` allowing addresses; `_serve_near` without
    its guard.
    """
    answer = tunnel(vm, proxy, target, get(BLOCKED.name))
    assert answer.startswith(("HTTP/1.1 403 ", "HTTP/1.1 400 "))
    assert not stray(capture)


@PROXIES
def test_connect_to_an_allowed_name(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: tuple[str, int]
) -> None:
    """The gate answers it, wherever it was meant for; nothing reaches that proxy."""
    answer = tunnel(vm, proxy, f"{ALLOWED.name.upper()}.:80", get(ALLOWED.name))
    assert OPEN in answer
    assert not stray(capture)


def test_fields_that_proxies_go_by(enforced: Ramnet, vm: Vm, capture: Capture) -> None:
    """httpjail: routing by the Host field. A CONNECT goes where its target says.

    Shown by: CONNECT decided by its Host field.
    """
    fields = [f"Host: {ALLOWED.name}:80", f"X-Forwarded-Host: {ALLOWED.name}"]
    for proxy in (EXPLICIT, (at.ANYWHERE.ipv4, 8080)):
        answer = speak(vm, *proxy, connect(f"{BLOCKED.name}:80", *fields), get(ALLOWED.name))
        assert SENTENCE in answer
        answer = speak(vm, *proxy, get(BLOCKED.name, f"http://{BLOCKED.name}/", *fields[1:]))
        assert SENTENCE in answer
    assert not stray(capture)


@PROXIES
@pytest.mark.parametrize(
    "host",
    [BLOCKED.name, BLOCKED.ipv4, ALLOWED.ipv4, "127.0.0.1", "240.0.0.1", "0.0.0.0", "localhost"],
)
@pytest.mark.parametrize("version", [4, 5])
def test_socks(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: tuple[str, int], host: str, version: int
) -> None:
    """SOCKS 4, 4a and 5 with names and addresses.

    Shown by: `Judge.decide` allowing every name; `rule` allowing addresses; `_serve_near` without
    its guard.
    """
    port = 7777 if host in ("127.0.0.1", "0.0.0.0", "localhost") else 80
    answer = socks_answer(vm, proxy, host, port, version)
    assert answer not in (b"\0\x5a", b"\x05\0")
    assert not stray(capture)


@PROXIES
@pytest.mark.parametrize("host", [BLOCKED.ipv6, "::1", f"::ffff:{BLOCKED.ipv4}"])
def test_socks5_with_ipv6(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: tuple[str, int], host: str
) -> None:
    """Shown by: `rule` allowing addresses."""
    assert socks_answer(vm, proxy, host, 7777, 5) != b"\x05\0"
    assert not stray(capture)


def socks_answer(vm: Vm, proxy: tuple[str, int], host: str, port: int, version: int) -> bytes:
    """The two bytes that say yes or no."""
    with connected(vm, *proxy) as sock:
        if version == 5:
            sock.sendall(b"\x05\x02\x00\x02")
            assert sock.recv(2) == b"\x05\0"
            sock.sendall(socks5(host, port))
        else:
            sock.sendall(socks4(host, port))
        return sock.recv(2)


@PROXIES
@pytest.mark.parametrize("command", [2, 3], ids=["bind", "udp-associate"])
def test_socks_commands_that_open_other_ways(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: tuple[str, int], command: int
) -> None:
    """Shown by: `SocksServer.negotiate` taking every command for CONNECT."""
    with connected(vm, *proxy) as sock:
        sock.sendall(b"\x05\x01\x00")
        sock.recv(2)
        sock.sendall(b"\x05" + bytes([command]) + socks5(ALLOWED.name)[2:])
        assert sock.recv(2) == b"\x05\x07"
    assert not stray(capture)


@PROXIES
def test_socks_and_then_another_name(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: tuple[str, int]
) -> None:
    """What is said inside is decided as well, and one that is allowed works.

    Shown by: `_open_tunnel` without its guard.
    """
    for inner, expected in ((ALLOWED, OPEN), (BLOCKED, SENTENCE)):
        with connected(vm, *proxy) as sock:
            sock.sendall(socks4(ALLOWED.name))
            assert sock.recv(8)[:2] == b"\0\x5a"
            sock.sendall(get(inner.name))
            assert expected in read_all(sock).decode()
        assert not stray(capture)


def test_who_may_use_the_explicit_proxy(enforced: Ramnet, vm: Vm, capture: Capture) -> None:
    """By the kernel's word on the client's address; a field of the client's says nothing.

    Shown by: `serve_explicit` without its check of the peer.
    """
    with vm.socket() as sock:
        sock.settimeout(5)
        sock.bind((at.VM_IPV4, 0))
        with contextlib.suppress(ConnectionResetError):
            sock.connect(EXPLICIT)
            sock.sendall(connect(f"{ALLOWED.name}:80", "X-Forwarded-For: 127.0.0.1"))
            assert read_all(sock) == b""
    assert not capture.settle().sent_by_vm().port(80)


@pytest.mark.parametrize("port", [927, 928])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_gates_listener_addressed_directly(
    enforced: Ramnet, vm: Vm, capture: Capture, address: str, port: int
) -> None:
    """OpenShell: a rule for the listener's port that named no address let egress through.

    Shown by: rules that accept the listeners' ports without an address.
    """
    assert SENTENCE not in (answer := speak(vm, address, port, get(ALLOWED.name), seconds=2))
    assert OPEN not in answer
    for far in (*BLOCKED.addresses, *at.ANYWHERE.addresses):
        assert LEAKED not in speak(vm, far, port, get(BLOCKED.name), seconds=2)
        with vm.socket(socket.AF_INET6 if ":" in far else socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect((far, port))
            with pytest.raises(OSError):
                udp.send(b"x")
                udp.settimeout(1)
                udp.recv(1)
    assert not stray(capture)
