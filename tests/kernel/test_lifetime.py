"""Rules that come, go and find a machine already at work."""

import errno
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.kernel.enforcer import Enforcer
from ramnet.ruleset import GATE_UID
from tests.kernel.conftest import FAR4, VM4, Wire, client, new_enforcer
from tests.lab.host import Host

Hosts = tuple[Host, Host]
_PATIENCE = 5.0


@pytest.fixture
def download(hosts: Hosts) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection of the vm to the far host, older than the rules: (in the vm, over there)."""
    with hosts[1].socket() as server, client(hosts[0], socket.AF_INET) as ours:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((FAR4, 8080))
        server.listen()
        ours.connect((FAR4, 8080))
        theirs, _ = server.accept()
        theirs.settimeout(_PATIENCE)
        # Ends by a reset, so that nothing is sent again into the next test.
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with theirs:
            yield ours, theirs


def test_an_old_connection_is_reset_when_it_sends(
    enforcer: Enforcer, wire: Wire, download: tuple[socket.socket, socket.socket]
) -> None:
    assert wire.sent()  # the handshake
    enforcer.install()
    with pytest.raises(ConnectionResetError):
        for _ in range(100):
            download[0].send(b"secret")
            download[0].recv(1)
    assert wire.sent() == []


def test_an_old_connection_is_reset_when_it_receives(
    enforcer: Enforcer, wire: Wire, download: tuple[socket.socket, socket.socket]
) -> None:
    assert wire.sent()  # the handshake
    enforcer.install()
    download[1].send(b"more of it")
    with pytest.raises(ConnectionResetError):
        while download[0].recv(64):
            pass
    assert wire.sent() == []


def test_an_old_exchange_over_udp_is_cut(hosts: Hosts, enforcer: Enforcer, wire: Wire) -> None:
    with (
        client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as ours,
        client(hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        theirs.bind((FAR4, 443))
        ours.connect((FAR4, 443))
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
def test_an_old_inbound_connection_goes_on(
    hosts: Hosts, tmp_path: Path, wire: Wire, who_speaks: str
) -> None:
    with hosts[0].socket() as service, client(hosts[1], socket.AF_INET) as theirs:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        service.bind((VM4, 2222))
        service.listen()
        theirs.connect((VM4, 2222))
        ours, _ = service.accept()
        ours.settimeout(_PATIENCE)
        enforcer = new_enforcer(hosts[0], tmp_path)
        enforcer.install()
        try:
            with ours:
                pairs = [(ours, theirs), (theirs, ours)]
                for sender, receiver in pairs if who_speaks == "vm" else reversed(pairs):
                    sender.sendall(b"still here")
                    assert receiver.recv(64) == b"still here"
        finally:
            enforcer.remove()


def test_take_down_leaves_what_was_there(hosts: Hosts, tmp_path: Path) -> None:
    commands = ("nft list ruleset", "ip route show table all", "ip -6 route show table all")

    def listing() -> list[str]:
        return [hosts[0].run(command.split()).check().out for command in commands]

    before = listing()
    enforcer = new_enforcer(hosts[0], tmp_path)
    enforcer.install()
    assert listing() != before
    enforcer.remove()
    assert listing() == before


def test_installing_again_changes_nothing(hosts: Hosts, tmp_path: Path) -> None:
    enforcer = new_enforcer(hosts[0], tmp_path)
    enforcer.install()
    before = hosts[0].run(["nft", "-s", "list", "ruleset"]).check().out
    enforcer.close()
    again = new_enforcer(hosts[0], tmp_path)
    again.install()
    assert again.intact()
    assert hosts[0].run(["nft", "-s", "list", "ruleset"]).check().out == before
    again.remove()


def test_a_change_by_another_hand_is_seen(hosts: Hosts, anybodys: None, enforcer: Enforcer) -> None:
    enforcer.install()
    assert enforcer.intact()
    hosts[0].run(["nft", "insert rule inet ramnet output accept"]).check()
    assert not enforcer.intact()
    enforcer.apply()
    assert enforcer.intact()


_SEND = """
import os, socket, sys
uid, cgroup, to = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if cgroup:
    open(cgroup + "/cgroup.procs", "w").write(str(os.getpid()))
os.setresuid(uid, uid, uid)
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"gate", (to, 5353))
except OSError as error:
    sys.exit(error.strerror)
"""


@pytest.mark.parametrize(
    ("uid", "in_cgroup", "leaves"),
    [(GATE_UID, True, True), (GATE_UID, False, False), (0, True, False), (0, False, False)],
    ids=["the gate", "uid alone", "cgroup alone", "anyone"],
)
def test_the_gate_is_excepted_by_uid_and_cgroup_together(
    hosts: Hosts, enforcer: Enforcer, wire: Wire, uid: int, in_cgroup: bool, leaves: bool
) -> None:
    enforcer.install()
    cgroup = str(enforcer.gate_cgroup) if in_cgroup else ""
    subprocess.run(
        ["nsenter", f"--net={hosts[0].network_path}", sys.executable, "-I", "-S", "-c", _SEND,
         str(uid), cgroup, FAR4], check=False, capture_output=True, timeout=10,
    )  # fmt: skip
    assert bool(wire.sent()) is leaves
