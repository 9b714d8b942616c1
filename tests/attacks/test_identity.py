"""Passing for the gate, for an answer, or for something that the rules do not see."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from ramnet.ruleset import GATE_UID
from tests.attacks.tools import (
    ALLOWED,
    BLOCKED,
    EXPLICIT,
    LEAKED,
    OPEN,
    SENTENCE,
    Containers,
    connect,
    connected,
    family_of,
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
AS_GATE = ["setpriv", f"--reuid={GATE_UID}", f"--regid={GATE_UID}", "--clear-groups"]

#: Tries TCP and UDP to an address; prints what came back.
_TRY = """
import socket, sys
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for kind, port in ((1, 80), (1, 22), (1, 853), (2, 443), (2, 53), (2, 123)):
    with socket.socket(family, kind) as sock:
        sock.settimeout(1)
        try:
            sock.connect((address, port))
            sock.send(sys.argv[2].encode().decode("unicode_escape").encode())
            print(sock.recv(4096))
        except OSError as error:
            print(error)
"""


@BOTH
def test_the_uid_alone(enforced: Ramnet, vm: Vm, capture: Capture, family: int) -> None:
    """Another distribution's passwd may hold it.

    Shown by: the cgroup left out of the gate's exception.
    """
    request = get(BLOCKED.name).decode().encode("unicode_escape").decode()
    got = vm.run([*AS_GATE, "python3", "-c", _TRY, BLOCKED.addresses[family], request])
    assert LEAKED not in got.out
    assert not stray(capture)


@pytest.mark.parametrize("url", [f"http://{BLOCKED.ipv4}/hello.txt", f"http://{BLOCKED.name}/"])
def test_the_uid_in_a_container(containers: Containers, capture: Capture, url: str) -> None:
    """`docker run --network host --user 60927`.

    Shown by: the cgroup left out of the gate's exception.
    """
    options = ["--network=host", f"--user={GATE_UID}"]
    said = containers.run("wget", "-T", "3", "-O", "-", url, options=options)
    assert LEAKED not in said
    assert not stray(capture)


def test_the_uid_in_a_cgroup_below_the_gates(
    containers: Containers, enforced: Ramnet, vm: Vm, capture: Capture
) -> None:
    """`--cgroup-parent` too: a rule that names a cgroup matches what is below it.

    Shown by: `cgroup.max.descendants` not set; this was a hole.
    """
    pid = enforced.gate_pid()
    own = vm.run(["sh", "-c", f"grep ^0:: /proc/{pid}/cgroup"]).check().out.strip()[3:]
    options = ["--network=host", f"--user={GATE_UID}", f"--cgroup-parent={own}"]
    url = f"http://{BLOCKED.ipv4}/hello.txt"
    said = containers.run("wget", "-T", "3", "-O", "-", url, options=options)
    for controller in ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids",
                       "systemd"):  # fmt: skip
        vm.run(["rmdir", f"/sys/fs/cgroup/{controller}{own}"])  # a hybrid host's version 1
    assert LEAKED not in said
    made = vm.run(["mkdir", f"/sys/fs/cgroup/unified{own}/mine"])
    assert not made.ok or not vm.path("/sys/fs/cgroup/unified").exists()
    assert not stray(capture)


@BOTH
@pytest.mark.parametrize("port", [53, 80, 443, 853])
def test_bound_to_the_uplink(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, port: int
) -> None:
    """SO_BINDTODEVICE makes a redirected packet for loopback leave by the uplink.

    Shown by: chain `leaving` left out.
    """
    for address in (BLOCKED.addresses[family], ("127.0.0.1", "::1")[family]):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with vm.socket(family_of(address), kind) as sock, contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                sock.settimeout(0.2)
                sock.connect((address, port))
                sock.send(get(BLOCKED.name))
                sock.recv(1)
    assert not stray(capture)


@BOTH
@pytest.mark.parametrize("mark", [1, 0x52414D43, 0x52414D47, 0x52414D4C, -1])
def test_a_forged_mark(enforced: Ramnet, vm: Vm, capture: Capture, family: int, mark: int) -> None:
    """SO_MARK with CAP_NET_ADMIN, the marks of our connections among them.

    Shown by: `meta mark` instead of `ct mark` for what is ours.
    """
    for kind, port in ((socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 443), (socket.SOCK_DGRAM, 53)):
        with vm.socket(FAMILY[family], kind) as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            sock.settimeout(1)
            sock.connect((BLOCKED.addresses[family], port))
            sock.send(get(BLOCKED.name))
            assert LEAKED.encode() not in sock.recv(4096)
    assert not stray(capture)


FAMILY = (socket.AF_INET, socket.AF_INET6)


def test_a_mark_without_the_privilege(enforced: Ramnet, vm: Vm, capture: Capture) -> None:
    """The kernel's own refusal; nothing of ours to take out."""
    program = "import socket; socket.socket().setsockopt(1, 36, 0x52414D47)"
    got = vm.run(["setpriv", "--reuid=65534", "--clear-groups", "python3", "-c", program])
    assert "PermissionError" in got.err


#: As nobody: bind an address of the far end's (IPV6_FREEBIND), open a connection to ourselves
#: from it, and then send there as if it were the answer.
_FREEBIND = """
import contextlib, os, socket, sys, time
far, own, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
def bound(kind, address, number):
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, 78, 1)
    sock.settimeout(1)
    sock.bind((address, number))
    return sock
spoof, answer = bound(2, far, port), bound(2, own, 4444)
full = bound(1, own, 4445)
full.listen(0)
filling = [socket.socket(socket.AF_INET6) for _ in range(3)]
opener = bound(1, far, port)
reflected = bound(2, far, 7777)
if port > 1023:
    os.setuid(65534)
spoof.sendto(b"hello", (own, 4444))
answer.recv(9)
with contextlib.suppress(OSError):
    answer.sendto(b"5ec7e7", (far, port))
with contextlib.suppress(OSError):
    reflected.sendto(b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\x065ec7e7\\0\\0\\1\\0\\1", (far, 53))
for sock in (*filling, opener):
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        sock.connect((own, 4445))
    time.sleep(0.02)
full.close()
for sock in filling:
    sock.close()
with contextlib.suppress(OSError):
    out = bound(1, own, 4445)
    out.connect((far, port))
    opener.close()
    out.send(b"5ec7e7")
    print(out.recv(99))
"""


@pytest.mark.parametrize("port", [5000, 443], ids=["nobody", "low-port"])
def test_the_answer_to_ones_own_connection(
    enforced: Ramnet, vm: Vm, capture: Capture, port: int
) -> None:
    """Binding a far address needs no privilege; a reply to it was taken for an inbound one's.

    Full TCP (simultaneous open) and UDP to anywhere, and the resolver's answers, left so.

    Shown by: the rule for `LOCAL_MARK` left out; this was a hole.
    """
    program = ["python3", "-c", _FREEBIND, at.FOREIGN_RESOLVER.ipv6, at.VM_IPV6, str(port)]
    got = vm.run(program).check()
    assert "nginx" not in got.out
    assert not stray(capture)


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

    Shown by: chain `output` with policy accept and its last line left out.
    """
    far = at.ANYWHERE.addresses[family]
    with (
        connected(vm, far, 2525) as idle,
        vm.socket(FAMILY[family], socket.SOCK_DGRAM) as udp,
        inet.socket(FAMILY[family], socket.SOCK_DGRAM) as server,
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

    Shown by: chain `output` with policy accept and its last line left out.
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
