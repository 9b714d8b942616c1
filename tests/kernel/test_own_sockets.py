"""Connections of the gate: they end as they should, and nobody else gets into them."""

import errno
import select
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ramnet.kernel.enforcer import Enforcer
from ramnet.ruleset import GATE_UID
from tests.kernel.conftest import FAR4, FAR6, VM4, Wire, client, listener
from tests.lab.host import Host

Hosts = tuple[Host, Host]
PATHS = pytest.mark.parametrize(
    ("family", "far"), [(socket.AF_INET, FAR4), (socket.AF_INET6, FAR6)], ids=["ipv4", "ipv6"]
)
_LENGTH = 1_000_000
_RESETS = (errno.ECONNRESET, errno.EPIPE)

#: A process as the gate is: arguments are its cgroup, its uid, a far address and a program.
_AS_THE_GATE = """
import os, socket, sys
cgroup, uid, far, program = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
open(cgroup + "/cgroup.procs", "w").write(str(os.getpid()))
os.setresuid(uid, uid, uid)
exec(program)
"""
_SEND_AND_CLOSE = f"""
sock = socket.create_connection((far, 8080))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, {4 * _LENGTH})
sock.setblocking(False)
left = {_LENGTH}
while left > 0:
    left -= sock.send(b"x" * left)
sock.close()
"""
_CLOSE_LATE = """
sock = socket.create_connection((far, 8080))
sock.shutdown(socket.SHUT_WR)
sock.close()
"""
_ASK_THE_SAME = """
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("192.0.2.2", 20001))
try:
    sock.sendto(b"question", (far, 53))
except PermissionError:
    sys.exit(0)
sys.exit("it was sent")
"""
_ASK = """
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("192.0.2.2", 20000))
sock.sendto(b"question", (far, 53))
"""


def _as_the_gate(hosts: Hosts, enforcer: Enforcer, far: str, program: str) -> None:
    subprocess.run(
        ["nsenter", f"--net={hosts[0].network_path}", sys.executable, "-I", "-S", "-c",
         _AS_THE_GATE, str(enforcer.gate_cgroup), str(GATE_UID), far, program],
        check=True, timeout=20,
    )  # fmt: skip


@pytest.fixture
def server(hosts: Hosts, request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Listens at the far address of the test's family and takes in little at a time."""
    far = request.node.callspec.params["far"]
    with client(hosts[1], request.node.callspec.params["family"]) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind((far, 8080))
        server.listen()
        yield server


@PATHS
def test_what_was_written_before_close_arrives(
    hosts: Hosts, installed: Enforcer, server: socket.socket, family: int, far: str
) -> None:
    """A closed socket has no owner: its data and its end were refused once."""
    _as_the_gate(hosts, installed, far, _SEND_AND_CLOSE)
    accepted, _ = server.accept()
    with accepted:
        accepted.settimeout(10)
        got = 0
        while data := accepted.recv(65536):
            got += len(data)
    assert got == _LENGTH


@PATHS
def test_the_other_side_learns_of_the_end(
    hosts: Hosts, installed: Enforcer, server: socket.socket, family: int, far: str
) -> None:
    """Data that comes after close is answered by a reset, not by silence."""
    _as_the_gate(hosts, installed, far, _CLOSE_LATE)
    accepted, _ = server.accept()
    with accepted:
        accepted.settimeout(10)
        accepted.send(b"late")
        ended = select.poll()
        ended.register(accepted, 0)  # errors and hang-ups only
        assert ended.poll(10_000)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in _RESETS


@pytest.mark.parametrize(("family", "far"), [(socket.AF_INET, FAR4)])
def test_another_socket_gets_into_no_exchange_of_the_gates(
    hosts: Hosts, installed: Enforcer, wire: Wire, family: int, far: str
) -> None:
    """The same addresses and ports, after the gate closed its socket."""
    _as_the_gate(hosts, installed, far, _ASK)
    assert len(wire.sent()) == 1
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
        sock.bind((VM4, 20000))
        with pytest.raises(PermissionError):
            sock.sendto(b"secret", (far, 53))
    assert wire.sent() == []


@pytest.mark.parametrize(("family", "far"), [(socket.AF_INET, FAR4)])
def test_the_gate_never_asks_itself(
    hosts: Hosts, installed: Enforcer, wire: Wire, family: int, far: str
) -> None:
    """From the port of a client's recent question to the same server, NAT led back to us."""
    resolver = listener(installed, "dns-udp", family)
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
        sock.bind((VM4, 20001))
        sock.sendto(b"question", (far, 53))
        assert resolver.recv(64) == b"question"
    _as_the_gate(hosts, installed, far, _ASK_THE_SAME)
    resolver.setblocking(False)
    with pytest.raises(BlockingIOError):
        resolver.recv(64)
    assert wire.sent() == []
