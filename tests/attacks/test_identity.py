"""Passing for the gate, for an answer, or for something that the rules do not see."""

from __future__ import annotations

import contextlib
import socket

import pytest

from ramnet.ruleset import GATE_UID
from tests.attacks.tools import (
    BLOCKED,
    FAMILIES,
    LEAKED,
    SENTENCE,
    Containers,
    family_of,
    get,
)
from tests.lab import Capture, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import stray

pytestmark = pytest.mark.lab

BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
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
    said = containers.run("wget", "-q", "-O", "-", url, options=options)
    assert SENTENCE in said
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
    said = containers.run("wget", "-q", "-O", "-", url, options=options)
    for controller in ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids",
                       "systemd"):  # fmt: skip
        vm.run(["rmdir", f"/sys/fs/cgroup/{controller}{own}"])  # a hybrid host's version 1
    assert "you reached" not in said
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

    Shown by: our marks accepted as marks of the packet too.
    """
    for kind, port in ((socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 443), (socket.SOCK_DGRAM, 53)):
        with vm.socket(FAMILIES[family], kind) as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            sock.settimeout(1)
            sock.connect((BLOCKED.addresses[family], port))
            sock.send(get(BLOCKED.name))
            assert LEAKED.encode() not in sock.recv(4096)
    assert not stray(capture)


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
