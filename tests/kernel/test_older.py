"""Connections older than the rules: both families, and a conntrack that ran before them."""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.kernel.enforcer import Enforcer
from tests.kernel.conftest import FAR4, FAR6, VM4, VM6, Wire, client, new_enforcer
from tests.lab.host import Host

Hosts = tuple[Host, Host]
Connection = tuple[socket.socket, socket.socket]
_FAMILIES = {"ipv4": (socket.AF_INET, VM4, FAR4), "ipv6": (socket.AF_INET6, VM6, FAR6)}

_OTHER_TOOL = """
table inet othertool {
    chain output { type filter hook output priority -5; ct state established accept; }
    chain input { type filter hook input priority -5; ct state established accept; }
}
"""


@pytest.fixture(params=["conntrack idle", "conntrack ran before"])
def conntrack(request: pytest.FixtureRequest, hosts: Hosts) -> Iterator[None]:
    """A rule of another tool is what makes a namespace track connections."""
    if request.param == "conntrack idle":
        yield
        return
    hosts[0].run(["nft", "-f", "-"], stdin=_OTHER_TOOL).check()
    yield
    hosts[0].run(["nft", "delete table inet othertool"]).check()


@pytest.fixture(params=["ipv4", "ipv6"])
def path(request: pytest.FixtureRequest) -> tuple[socket.AddressFamily, str, str]:
    """Address family, the vm's address and the far one."""
    return _FAMILIES[request.param]


@pytest.fixture
def outbound(
    hosts: Hosts, conntrack: None, path: tuple[socket.AddressFamily, str, str]
) -> Iterator[Connection]:
    """A connection of the vm to the far host: (in the vm, over there)."""
    family, _, far = path
    with hosts[1].socket(family) as server, client(hosts[0], family) as ours:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((far, 8080))
        server.listen()
        ours.connect((far, 8080))
        theirs, _ = server.accept()
        theirs.settimeout(5)
        # Ends by a reset, so that nothing is sent again into the next test.
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with theirs:
            yield ours, theirs


def test_a_connection_is_reset_when_it_sends(
    wire: Wire, enforcer: Enforcer, outbound: Connection
) -> None:
    assert wire.sent()  # the handshake
    enforcer.install()
    with pytest.raises(ConnectionResetError):
        for _ in range(100):
            outbound[0].send(b"secret")
            outbound[0].recv(1)
    assert wire.sent() == []


def test_a_connection_is_reset_when_it_receives(
    wire: Wire, enforcer: Enforcer, outbound: Connection
) -> None:
    assert wire.sent()  # the handshake
    enforcer.install()
    outbound[1].send(b"more of it")
    with pytest.raises(ConnectionResetError):
        while outbound[0].recv(64):
            pass
    assert wire.sent() == []


def test_a_connection_that_is_closed_leaves_in_silence(
    wire: Wire, enforcer: Enforcer, outbound: Connection
) -> None:
    assert wire.sent()
    enforcer.install()
    outbound[0].close()
    outbound[1].send(b"more of it")
    assert wire.sent() == []


@pytest.mark.parametrize("port", [443, 5000, 40000])
def test_an_exchange_over_udp_is_cut(
    hosts: Hosts, wire: Wire, enforcer: Enforcer, conntrack: None,
    path: tuple[socket.AddressFamily, str, str], port: int,
) -> None:  # fmt: skip
    family, _, far = path
    with (
        client(hosts[0], family, socket.SOCK_DGRAM) as ours,
        client(hosts[1], family, socket.SOCK_DGRAM) as theirs,
    ):
        theirs.bind((far, port))
        ours.connect((far, port))
        ours.send(b"hello")
        _, address = theirs.recvfrom(64)
        assert wire.sent()  # the first question
        enforcer.install()
        theirs.sendto(b"more", address)
        with pytest.raises(OSError) as raised:
            for _ in range(3):
                ours.send(b"secret")
        assert raised.value.errno in (errno.EPERM, errno.ECONNREFUSED)
        assert wire.sent() == []


@pytest.mark.parametrize("who_speaks", ["vm", "far"])
def test_an_inbound_connection_goes_on(
    hosts: Hosts, tmp_path: Path, conntrack: None,
    path: tuple[socket.AddressFamily, str, str], who_speaks: str,
) -> None:  # fmt: skip
    family, vm, _ = path
    with hosts[0].socket(family) as service, client(hosts[1], family) as theirs:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        service.bind((vm, 2222))
        service.listen()
        theirs.connect((vm, 2222))
        ours, _ = service.accept()
        ours.settimeout(5)
        enforcer = new_enforcer(hosts[0], tmp_path)
        enforcer.install()
        with ours, contextlib.ExitStack() as stack:
            stack.callback(enforcer.remove)
            pairs = [(ours, theirs), (theirs, ours)]
            for sender, receiver in pairs if who_speaks == "vm" else reversed(pairs):
                sender.sendall(b"still here")
                assert receiver.recv(64) == b"still here"


def test_replacing_the_rules_cuts_nothing_that_passed(
    hosts: Hosts, wire: Wire, enforcer: Enforcer, path: tuple[socket.AddressFamily, str, str]
) -> None:
    family, _, far = path
    enforcer.install()
    transparent = next(s for s in enforcer.listeners["transparent"] if s.family == family)
    transparent.settimeout(5)
    with client(hosts[0], family) as ours:
        ours.connect((far, 443))
        accepted, _ = transparent.accept()
        enforcer.apply()
        with accepted:
            ours.sendall(b"question")
            assert accepted.recv(64) == b"question"
            accepted.sendall(b"answer")
            assert ours.recv(64) == b"answer"
    assert wire.sent() == []


def test_conntrack_that_began_in_the_middle_is_not_believed(
    hosts: Hosts, wire: Wire, enforcer: Enforcer
) -> None:
    """Its first packet of a download was inbound: the far end counts as the one who opened."""
    with (
        client(hosts[1], socket.AF_INET) as server,
        client(hosts[0], socket.AF_INET) as ours,
        client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as asking,
        client(hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as answering,
        contextlib.ExitStack() as stack,
    ):
        server.bind((FAR4, 8080))
        server.listen()
        ours.connect((FAR4, 8080))
        theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stack.enter_context(theirs)
        answering.bind((FAR4, 443))
        asking.bind((VM4, 5001))  # below the ephemeral ports
        asking.connect((FAR4, 443))
        hosts[0].run(["nft", "-f", "-"], stdin=_OTHER_TOOL).check()
        stack.callback(hosts[0].run, ["nft", "delete table inet othertool"])
        theirs.send(b"more")
        answering.sendto(b"more", (VM4, 5001))
        assert (ours.recv(64), asking.recv(64)) == (b"more", b"more")
        wire.sent()
        enforcer.install()
        with pytest.raises(ConnectionResetError):
            for _ in range(100):
                ours.send(b"secret")
                ours.recv(1)
        with pytest.raises(PermissionError):
            asking.send(b"secret")
        assert wire.sent() == []


def test_what_is_old_is_still_known_after_a_restart(hosts: Hosts, tmp_path: Path) -> None:
    """And what came after the rules is not taken for old."""
    with client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as old:
        old.connect((FAR4, 443))
        ports = [old.getsockname()[1]]
        before = new_enforcer(hosts[0], tmp_path)
        before.install()
        before.close()
        with client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as young:
            young.connect((FAR4, 443))
            ports.append(young.getsockname()[1])
            again = new_enforcer(hosts[0], tmp_path)
            again.install()
            listing = hosts[0].run(["nft", "list set inet ramnet old_udp"]).check().out
            again.remove()
    assert [str(port) in listing for port in ports] == [True, False]
