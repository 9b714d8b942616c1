"""Too much of everything: the gate refuses what it cannot do, and leaks and forgets nothing."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import string
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dns.message
import pytest

from tests.attacks.test_identity import AS_GATE
from tests.attacks.tools import (
    ALLOWED,
    BLOCKED,
    EXPLICIT,
    FAMILIES,
    LEAKED,
    OPEN,
    SENTENCE,
    client_hello,
    connected,
    get,
    read_all,
    resolve,
    speak,
)
from tests.lab import Capture, Lab, Ramnet, policy_text
from tests.lab.vm import Vm
from tests.system.conftest import ALLOWED as SITES
from tests.system.conftest import POLICY, stray
from tests.system.test_life import Prober, resident
from tests.unit.wire import hello

pytestmark = pytest.mark.lab


_NOBODYS = "203.0.113.177"
"""No resolver ever told it, so a client that is silent for a while is not joined to it."""


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Enough of them for this process, which holds the clients' ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def crowd(
    vm: Vm, number: int, address: str, port: int, said: bytes
) -> Iterator[list[socket.socket]]:
    """Connections that all say the same and then wait."""
    with contextlib.ExitStack() as stack, vm.entered():
        sockets = []
        for _ in range(number):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex((address, port))
            sockets.append(sock)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.setblocking(True)
                sock.settimeout(10)
                sock.sendall(said)
        yield sockets


def test_five_thousand_connections_at_once(
    enforced: Ramnet, vm: Vm, capture: Capture, descriptors: None
) -> None:
    """For a name that is refused: each gets its answer, and nothing leaves for it.

    Shown by: `Judge.decide` allowing every name.
    """
    gate = enforced.gate_pid()
    before = resident(vm, gate)
    with crowd(vm, 5000, _NOBODYS, 80, get(BLOCKED.name)) as clients:
        answers = [read_all(client) for client in clients]
    assert sum(SENTENCE.encode() in answer for answer in answers) == 5000
    assert OPEN in speak(vm, ALLOWED.ipv4, 80, get(ALLOWED.name))
    assert enforced.gate_pid() == gate
    assert resident(vm, gate) < before + 96 * 1024
    assert not stray(capture)


def test_slow_clients(enforced: Ramnet, vm: Vm, capture: Capture, descriptors: None) -> None:
    """A thousand that say one byte and then another; others are served meanwhile.

    They are cut after DECISION_TIME (unit tests have the clock).

    Shown by: 10 ms of waiting in `serve_transparent`.
    """
    with crowd(vm, 1000, BLOCKED.ipv4, 443, b"\x16") as clients:
        for byte in b"\x03\x01\x02":
            for client in clients:
                client.sendall(bytes([byte]))
            began = time.monotonic()
            assert OPEN in speak(vm, ALLOWED.ipv4, 80, get(ALLOWED.name))
            assert SENTENCE in speak(vm, ALLOWED.ipv4, 80, get(BLOCKED.name))
            assert time.monotonic() - began < 2
    assert not stray(capture)


def test_without_descriptors(enforced: Ramnet, vm: Vm, capture: Capture, descriptors: None) -> None:
    """The gate's limit is taken away under it: refused is refused, and it comes back.

    Shown by: `Acceptor._accept` without its rest; the gate then burns a processor.
    """
    gate = enforced.gate_pid()
    # By somebody of its uid, who may: a container with `--pid host --user 60927`.
    limit = [*AS_GATE, "prlimit", f"--pid={gate}"]
    soft = vm.run([*limit, "--nofile", "--output=SOFT", "--noheadings"]).check().out.strip()
    in_use = int(vm.run(["sh", "-c", f"ls /proc/{gate}/fd | wc -l"]).check().out)
    vm.run([*limit, f"--nofile={in_use + 24}:"]).check()
    try:
        with crowd(vm, 200, ALLOWED.ipv4, 80, b"GET /hello.txt HTTP/1.1\r\n"):
            assert LEAKED not in speak(vm, BLOCKED.ipv4, 80, get(BLOCKED.name), seconds=0.5)
            resolve(vm, BLOCKED.name)
            used = processor_seconds(vm, gate)
            time.sleep(0.5)
            assert processor_seconds(vm, gate) - used < 0.3
    finally:
        vm.run([*limit, f"--nofile={soft}:"])
    assert enforced.gate_pid() == gate
    assert OPEN in speak(vm, ALLOWED.ipv4, 80, get(ALLOWED.name), seconds=10)
    assert not stray(capture)


def processor_seconds(vm: Vm, pid: int) -> float:
    """User and system time of a process (proc_pid_stat(5), fields 14 and 15)."""
    fields = vm.path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_a_policy_replaced_two_hundred_times(enforced: Ramnet, vm: Vm, capture: Capture) -> None:
    """Under constant probes: no leak, and a connection that stays allowed is not cut.

    cilium removed its filters during a restart; sshuttle's rules had a window.

    Shown by: `Flows.stands` false for all.
    """
    names = [site.name for site in SITES]
    with Prober(vm).at_work(), connected(vm, ALLOWED.ipv4, 80) as kept:
        for number in range(200):
            more = [f"registry{number}.corp.example"] if number % 2 else []
            enforced.write_policy(policy_text(*names, *more, version=number + 2))
            if number % 20 == 0:
                enforced.wait_status(partial(_at_least, number + 2))
                kept.sendall(get(ALLOWED.name).replace(b"Connection: close\r\n", b""))
                assert OPEN in kept.recv(4096).decode()
                assert SENTENCE in speak(vm, BLOCKED.ipv4, 80, get(BLOCKED.name))
            else:
                time.sleep(0.02)
    enforced.set_policy(POLICY)
    assert not stray(capture)


def _at_least(version: int, status: dict[str, Any]) -> bool:
    return int(status["policy"]["version"]) >= version


def test_names_without_end(enforced: Ramnet, lab: Lab, capture: Capture) -> None:
    """Refused names by DNS, TLS and HTTP: caches, contexts and logs are bounded.

    Shown by: 50 kB kept for each refused name (contexts of `LEAVES_KEPT` cost far less).
    """
    vm, gate = lab.vm, enforced.gate_pid()
    chance = random.Random(1)
    before = resident(vm, gate)
    for number in range(1500):
        name = f"{''.join(chance.choices(string.ascii_lowercase, k=50))}.{number}.blocked.example"
        with vm.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(dns.message.make_query(name, "A").to_wire(), (BLOCKED.ipv4, 53))
        if number % 5 == 0:
            with connected(vm, BLOCKED.ipv4, 443) as sock:
                sock.sendall(hello.record(client_hello(name)))
                sock.recv(1)
            speak(vm, *EXPLICIT, get(name))
    assert resident(vm, gate) < before + 48 * 1024
    assert enforced.gate_pid() == gate
    assert not stray(capture)


POINTERS = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
BOMBS = {
    "pointer-to-itself": POINTERS + b"\xc0\x0c\x00\x01\x00\x01",
    "pointers-in-a-ring": POINTERS + b"\xc0\x0e\xc0\x0c\x00\x01\x00\x01",
    "labels-then-back": POINTERS + b"\x01a\xc0\x0c\x00\x01\x00\x01",
    "many-questions": b"\x12\x34\x01\x00\xff\xff\x00\x00\x00\x00\x00\x00" + b"\0\0\1\0\1" * 300,
    "many-additional": POINTERS[:10]
    + b"\xff\xff"
    + b"\0\0\1\0\1"
    + b"\0\0\x29\0\0\0\0\0\0\0\0" * 99,
    "label-past-the-end": POINTERS + b"\x3fa",
    "no-name": POINTERS,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_dns_that_unfolds_without_end(
    enforced: Ramnet, vm: Vm, capture: Capture, family: socket.AddressFamily, bomb: bytes
) -> None:
    """Compressed names that point in circles cost no time.

    Nothing to take out: the reader of questions knows no pointers.
    """
    gate = enforced.gate_pid()
    used = processor_seconds(vm, gate)
    address = BLOCKED.addresses[FAMILIES.index(family)]
    with vm.socket(family, socket.SOCK_DGRAM) as udp:
        udp.connect((address, 53))
        for _ in range(50):
            udp.send(bomb)
    assert resolve(vm, ALLOWED.name) == {ALLOWED.ipv4}
    assert processor_seconds(vm, gate) - used < 0.5
    assert enforced.gate_pid() == gate
    assert not stray(capture)


def test_a_full_disk_stops_nothing(enforced: Ramnet, lab: Lab, capture: Capture) -> None:
    """Events are lost and counted; refusing and allowing go on.

    Shown by: `EventLog.write` raising.
    """
    events = Path(lab.vm.directory, "ramnet", "events")
    lab.vm.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=777", "tmpfs", str(events)]).check()
    try:
        for _ in range(60):
            assert SENTENCE in speak(lab.vm, BLOCKED.ipv4, 80, get(BLOCKED.name))
        assert OPEN in speak(lab.vm, ALLOWED.ipv4, 80, get(ALLOWED.name))
    finally:
        lab.vm.run(["umount", "--lazy", str(events)]).check()
    assert not stray(capture)
