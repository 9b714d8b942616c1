"""The service's own life: killed, restarted, its policy changed, its listeners fed with rubbish."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Capture, Ramnet, policy_text
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import ALLOWED, POLICY, sentence, stray

pytestmark = pytest.mark.lab

_HELLO = f"https://{at.FILES_ALLOWED.name}/hello.txt"
_CURL = ["curl", "--silent", "--show-error", "--include", "--max-time", "5"]


class Prober:
    """Tries forbidden things from inside the vm, all the time, from a thread."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._probe, name="prober")
        self.rounds = 0

    def _probe(self) -> None:
        targets = [
            (socket.AF_INET, socket.SOCK_DGRAM, (at.FOREIGN_RESOLVER.ipv4, 53)),
            (socket.AF_INET6, socket.SOCK_DGRAM, (at.FOREIGN_RESOLVER.ipv6, 53)),
            (socket.AF_INET, socket.SOCK_DGRAM, (at.REGISTRY_BLOCKED.ipv4, 443)),
            (socket.AF_INET, socket.SOCK_STREAM, (at.REGISTRY_BLOCKED.ipv4, 443)),
            (socket.AF_INET6, socket.SOCK_STREAM, (at.REGISTRY_BLOCKED.ipv6, 80)),
            (socket.AF_INET, socket.SOCK_STREAM, (at.FOREIGN_RESOLVER.ipv4, 853)),
        ]
        while not self._stop.is_set():
            for family, kind, address in targets:
                with self._vm.socket(family, kind) as sock:
                    sock.settimeout(0.02)
                    try:
                        sock.connect(address)
                        sock.send(b"leak?")
                        sock.recv(16)
                    except OSError:
                        continue
            self.rounds += 1

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
        assert self.rounds > 0


def test_a_killed_gate_leaks_nothing_and_comes_back(
    enforced: Ramnet, vm: Vm, capture: Capture
) -> None:
    old = enforced.gate_pid()
    with Prober(vm).at_work():
        enforced.signal(old)
        enforced.wait_status(
            lambda status: (
                status["state"] == "enforcing"
                and status["scopes"][0]["gate_pid"] not in (None, old)
            )
        )
    vm.run([*_CURL, _HELLO]).check()
    assert not stray(capture)


def test_a_killed_supervisor_leaks_nothing_and_comes_back(
    enforced: Ramnet, vm: Vm, capture: Capture
) -> None:
    gate = enforced.gate_pid()
    with Prober(vm).at_work():
        enforced.signal(enforced.supervisor_pid())
        enforced.wait_restarted()
    assert enforced.gate_pid() != gate
    vm.run([*_CURL, _HELLO]).check()
    assert not stray(capture)


def test_a_stopped_service_holds(enforced: Ramnet, vm: Vm, capture: Capture) -> None:
    enforced.stop()
    got = vm.run([*_CURL, _HELLO])
    assert not got.ok
    assert got.seconds < 3
    assert not capture.settle().sent_by_vm().without_housekeeping()


@contextmanager
def flow_to(vm: Vm, site: at.Site) -> Iterator[socket.socket]:
    """A plain connection through the gate with an answered request, kept alive."""
    with vm.socket() as sock:
        sock.settimeout(5)
        sock.connect((site.ipv4, 80))
        sock.sendall(f"GET /hello.txt HTTP/1.1\r\nHost: {site.name}\r\n\r\n".encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 ")
        yield sock


def test_flows_to_a_host_no_longer_allowed_are_closed(enforced: Ramnet, vm: Vm) -> None:
    with flow_to(vm, at.FILES_ALLOWED) as gone, flow_to(vm, at.CDN) as kept:
        names = [site.name for site in ALLOWED if site != at.FILES_ALLOWED]
        enforced.write_policy(policy_text(*names))
        gone.settimeout(1)  # the promise
        with pytest.raises(ConnectionResetError):
            while gone.recv(4096):
                pass
        request = f"GET /hello.txt HTTP/1.1\r\nHost: {at.CDN.name}\r\n\r\n"
        kept.sendall(request.encode())
        assert kept.recv(4096).startswith(b"HTTP/1.1 ")
    enforced.set_policy(POLICY)


def test_a_large_policy_is_in_force_within_a_second(enforced: Ramnet, vm: Vm) -> None:
    many = policy_text(*(f"registry{number}.corp.example" for number in range(10_000)))
    with flow_to(vm, at.FILES_ALLOWED) as flow:
        enforced.write_policy(many)
        flow.settimeout(1)
        with pytest.raises(ConnectionResetError):
            while flow.recv(4096):
                pass
    enforced.set_policy(POLICY)


def test_a_bad_policy_leaves_the_old_one_in_force(enforced: Ramnet, vm: Vm) -> None:
    enforced.write_policy('organization = "acme"\n[[registry]]\nhost = "two words"\n')
    enforced.wait_status(lambda status: "two words" in (status["policy"]["error"] or ""))
    assert vm.run([*_CURL, _HELLO]).check()
    enforced.set_policy(POLICY)


def test_events_tell_what_was_refused(enforced: Ramnet, vm: Vm) -> None:
    name = at.FILES_BLOCKED.name
    refused = vm.run([*_CURL, "--insecure", f"https://{name}/"])
    assert sentence(name) in refused.out
    events = [e for e in enforced.events("--denied") if e["name"] == name]
    assert {"dns", "tls"} <= {event["kind"] for event in events}
    assert all(event["verdict"] == "refused" for event in events)


def _rubbish(seed: int, count: int) -> Iterator[bytes]:
    """Random bytes, and proper openings with bytes of them changed, cut off or repeated."""
    chance = random.Random(seed)
    openings = [
        b"GET / HTTP/1.1\r\nHost: files.allowed.example\r\n\r\n",
        b"CONNECT files.allowed.example:443 HTTP/1.1\r\n\r\n",
        bytes.fromhex("16030100c8010000c40303") + bytes(200),
        b"\x05\x01\x00\x05\x01\x00\x03\x15files.allowed.example\x01\xbb",
        b"\x04\x01\x01\xbb\x00\x00\x00\x01me\x00files.allowed.example\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x05files\x07allowed\x07example\x00"
        b"\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00",
    ]
    for number in range(count):
        data = bytearray(chance.choice(openings))
        if number % 3 == 0:
            data = bytearray(chance.randbytes(chance.randrange(1, 400)))
        for _ in range(chance.randrange(6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        yield bytes(data[: chance.randrange(1, len(data) + 1)]) * chance.choice((1, 1, 1, 40))


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (socket.SOCK_STREAM, ("198.51.100.1", 443)),
        (socket.SOCK_STREAM, ("127.0.0.1", 3128)),
        (socket.SOCK_STREAM, ("198.51.100.1", 53)),
        (socket.SOCK_DGRAM, ("198.51.100.1", 53)),
    ],
    ids=["transparent", "explicit", "dns-tcp", "dns-udp"],
)
def test_rubbish(
    enforced: Ramnet, vm: Vm, capture: Capture, kind: int, address: tuple[str, int]
) -> None:
    """A thousand inputs to each listener: same process, no hang, memory bounded."""
    gate = enforced.gate_pid()
    before = resident(vm, gate)
    for data in _rubbish(seed=address[1], count=1000):
        with vm.socket(socket.AF_INET, kind) as sock:
            sock.settimeout(2)
            try:
                sock.connect(address)
                sock.sendall(data)
            except ConnectionError:
                continue
    vm.run([*_CURL, _HELLO]).check()
    assert enforced.gate_pid() == gate
    assert resident(vm, gate) < before + 32 * 1024
    assert not stray(capture)


def resident(vm: Vm, pid: int) -> int:
    """Resident memory of a process of the vm, KiB (proc_pid_status(5), VmRSS)."""
    for line in vm.path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no VmRSS")
