"""A scope that is one cgroup: its sockets go to the gate, everybody else's go as they went."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramnet.config import Config, Scope
from ramnet.kernel import cgroup
from ramnet.kernel import enforcer as enforcer_module
from ramnet.kernel.cgroup import cgroup2_mount
from ramnet.kernel.enforcer import Enforcer
from ramnet.kernel.probe import probe as real_probe
from ramnet.kernel.scope_cgroup import JOIN, find_net_cls
from ramnet.ruleset import GateIdentity
from tests.kernel.conftest import (
    FAR4,
    FAR6,
    VM4,
    VM6,
    Wire,
    client,
    listener,
    original_destination,
)
from tests.kernel.member import Member
from tests.lab.host import Host

Hosts = tuple[Host, Host]
FAMILIES = [(socket.AF_INET, FAR4, "127.0.0.1"), (socket.AF_INET6, FAR6, "::1")]
BOTH = pytest.mark.parametrize(("family", "far", "loopback"), FAMILIES, ids=["ipv4", "ipv6"])
MEANS = ["cgroup2", "cgroup2 without socket lookup", "net_cls"]
ROOM = f"ramnet-test-{os.getpid()}"
"""A cgroup of this run alone: another run on this machine would empty it."""
CGROUP = f"{ROOM}.slice/docker"


class Scoped:
    """Rules for a cgroup, a process in it, and how to make more of either."""

    def __init__(self, vm: Host, means: str, config: Config) -> None:
        self.vm, self.means, self.config = vm, means.split()[0], config
        self.enforcers = [Enforcer(config, scope) for scope in config.scopes]
        self.enforcer = self.enforcers[0]
        self.members: list[Member] = []

    def directory(self, path: str = CGROUP) -> Path:
        mount, classed = cgroup2_mount(), find_net_cls()
        if self.means == "net_cls":
            assert classed is not None
            return classed[0] / path
        assert mount is not None
        return mount / path / JOIN

    def member(self, path: str = CGROUP) -> Member:
        self.members.append(Member(self.vm, self.directory(path)))
        return self.members[-1]

    def install(self) -> None:
        for enforcer in self.enforcers:
            enforcer.install()
            for group in enforcer.listeners.values():
                for sock in group:
                    sock.settimeout(3)

    def close(self) -> None:
        for member in self.members:
            member.close()
        for enforcer in self.enforcers:
            enforcer.remove()


MakeScoped = Callable[..., Scoped]


@pytest.fixture(params=MEANS)
def make_scoped(
    request: pytest.FixtureRequest, hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeScoped]:
    """Not installed yet."""
    means = request.param
    made: list[Scoped] = []

    def limited(*arguments: Any) -> Any:
        capabilities, gate = real_probe(*arguments)
        if means == "net_cls":
            return replace(capabilities, socket_cgroupv2=False, socket_lookup=False), GateIdentity()
        return replace(capabilities, socket_lookup="without" not in means), gate

    monkeypatch.setattr(enforcer_module, "probe", limited)

    def make(*paths: str) -> Scoped:
        scopes = [
            Scope(name=f"scope-{number}", netns=hosts[0].network_path, cgroup=path)
            for number, path in enumerate(paths or (CGROUP,))
        ]
        config = Config(
            policy="/none", scopes=scopes, control_socket=str(tmp_path / "run/control.sock")
        )
        made.append(Scoped(hosts[0], means, config))
        return made[-1]

    yield make
    for scoped in made:
        scoped.close()


@pytest.fixture
def scoped(make_scoped: MakeScoped) -> Scoped:
    scoped = make_scoped()
    scoped.install()
    return scoped


def test_the_means_are_the_ones_asked_for(scoped: Scoped) -> None:
    said = scoped.enforcer.describe()
    assert said["scoping"] == scoped.means
    assert scoped.enforcer.table == "ramnet_scope_0"


def test_a_slice_is_where_init_has_its_slices(
    make_scoped: MakeScoped, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd in a distribution of WSL has them: below the distribution's own cgroup."""
    root = f"{ROOM}.wsl/distro-1/systemd"
    (tmp_path / "init").write_text(f"0::/{root}/init.scope\n")
    monkeypatch.setattr(cgroup, "_INIT", tmp_path / "init")
    scoped = make_scoped()
    scoped.install()
    path = CGROUP if scoped.means == "net_cls" else f"{root}/{CGROUP}"
    assert scoped.enforcer.describe()["cgroup"] == path
    assert scoped.member(path).send(socket.AF_INET, FAR4, 443) == "refused"
    assert not wire.sent()


@BOTH
def test_tcp_of_a_member_goes_to_the_gate_and_of_others_does_not(
    hosts: Hosts, wire: Wire, scoped: Scoped, family: int, far: str, loopback: str
) -> None:
    gate = listener(scoped.enforcer, "transparent", family)
    assert scoped.member().connect(family, far, 443, "hello") == "connected"
    accepted, _ = gate.accept()
    with accepted:
        assert original_destination(accepted) == (far, 443)
        assert accepted.recv(9) == b"hello"
    assert not wire.sent()
    with client(hosts[1], family) as service, client(hosts[0], family) as bystander:
        service.bind((far, 4443))
        service.listen()
        bystander.connect((far, 4443))
        service.accept()[0].close()
    assert wire.sent()


@BOTH
def test_other_udp_is_refused_to_members_alone(
    hosts: Hosts, wire: Wire, scoped: Scoped, family: int, far: str, loopback: str
) -> None:
    assert scoped.member().send(family, far, 443) == "refused"
    assert not wire.sent()
    with client(hosts[0], family, socket.SOCK_DGRAM) as bystander:
        bystander.sendto(b"bystander", (far, 443))
    assert any(b"bystander" in packet for packet in wire.sent())


@BOTH
def test_questions_of_members_go_to_the_resolver(
    hosts: Hosts, wire: Wire, scoped: Scoped, family: int, far: str, loopback: str
) -> None:
    resolver = listener(scoped.enforcer, "dns-udp", family)
    assert scoped.member().send(family, far, 53, "question") == "sent"
    assert resolver.recv(99) == b"question"
    assert scoped.member().connect(family, far, 53) == "connected"
    listener(scoped.enforcer, "dns-tcp", family).accept()[0].close()
    assert not wire.sent()
    with client(hosts[0], family, socket.SOCK_DGRAM) as bystander:
        bystander.sendto(b"bystander", (far, 53))
    assert any(b"bystander" in packet for packet in wire.sent())


@BOTH
def test_a_closed_port_refuses(scoped: Scoped, family: int, far: str, loopback: str) -> None:
    own = VM4 if family == socket.AF_INET else VM6
    assert scoped.member().connect(family, loopback, 6543) == "ConnectionRefusedError"
    assert scoped.member().connect(family, own, 6543) == "ConnectionRefusedError"


@BOTH
def test_a_proxy_outside_is_met_by_the_gate(
    hosts: Hosts, scoped: Scoped, family: int, far: str, loopback: str
) -> None:
    gate = listener(scoped.enforcer, "transparent", family)
    with client(hosts[0], family) as proxy:
        proxy.bind((loopback, 6544))
        proxy.listen()
        scoped.enforcer.refresh()
        assert scoped.member().connect(family, loopback, 6544, "CONNECT") == "connected"
        accepted, _ = gate.accept()
        with accepted:
            assert original_destination(accepted) == (loopback, 6544)
        with client(hosts[0], family) as bystander:
            bystander.connect((loopback, 6544))
            proxy.accept()[0].close()


@BOTH
def test_a_proxy_that_began_to_listen_a_moment_ago_gets_no_byte(
    hosts: Hosts, scoped: Scoped, family: int, far: str, loopback: str
) -> None:
    """With the SYN of the rule ``asked`` accepted in mid-stream as well, it does get them."""
    with client(hosts[0], family) as proxy:
        proxy.bind((loopback, 6545))
        proxy.listen()
        proxy.settimeout(0.3)
        member = scoped.member()
        member.connect(family, loopback, 6545)
        member.tell("s[-1].sendall(b'CONNECT blocked.example:443 HTTP/1.1\\r\\n\\r\\n')")
        try:
            accepted, _ = proxy.accept()
        except TimeoutError:
            return
        with accepted:
            accepted.settimeout(0.5)
            with pytest.raises((TimeoutError, ConnectionResetError)):
                assert not accepted.recv(99)
                raise ConnectionResetError


@BOTH
def test_old_connections_of_members_end_and_of_others_go_on(
    hosts: Hosts, wire: Wire, make_scoped: MakeScoped, family: int, far: str, loopback: str
) -> None:
    scoped = make_scoped()
    member = scoped.member()
    with client(hosts[1], family) as service, client(hosts[0], family) as bystander:
        service.bind((far, 4444))
        service.listen()
        assert member.connect(family, far, 4444, "before") == "connected"
        theirs = service.accept()[0]
        bystander.connect((far, 4444))
        others = service.accept()[0]
        assert theirs.recv(99) == b"before"
        scoped.install()
        wire.sent()
        with theirs, others:
            others.settimeout(3)
            theirs.sendall(b"inbound first")
            assert member.tell("s[-1].sendall(b'secret')") in (None, "ConnectionResetError")
            assert member.tell("s[-1].recv(99) and s[-1].recv(99)") in ("", "ConnectionResetError")
            theirs.sendall(b"more")
            bystander.sendall(b"still here")
            assert others.recv(99) == b"still here"
    assert not any(b"secret" in packet for packet in wire.sent())


@BOTH
def test_an_old_connection_to_a_local_proxy_ends(
    hosts: Hosts, make_scoped: MakeScoped, family: int, far: str, loopback: str
) -> None:
    scoped = make_scoped()
    member = scoped.member()
    with client(hosts[0], family) as proxy:
        proxy.bind((loopback, 6546))
        proxy.listen()
        assert member.connect(family, loopback, 6546) == "connected"
        accepted = proxy.accept()[0]
        scoped.install()
        member.tell("s[-1].sendall(b'CONNECT')")
        assert member.tell("s[-1].recv(99)") == "ConnectionResetError"
        with accepted:
            accepted.settimeout(0.3)
            with pytest.raises((TimeoutError, ConnectionResetError)):
                accepted.recv(99)


@BOTH
def test_a_member_bound_to_the_uplink_gets_nothing_out(
    wire: Wire, scoped: Scoped, family: int, far: str, loopback: str
) -> None:
    member = scoped.member()
    bind = "s[-1].setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0')"
    for kind, to, port in (
        (1, far, 443), (2, far, 53), (2, far, 443), (1, far, 853), (1, loopback, 3128),
    ):  # fmt: skip
        member.tell(f"bool(make({int(family)}, {kind})) and s[-1].settimeout(0.3)")
        member.tell(bind)
        member.tell(f"s[-1].connect(({to!r}, {port})) or s[-1].send(b'out')")
    assert not wire.sent()


@BOTH
def test_a_members_service_answers(
    hosts: Hosts, scoped: Scoped, family: int, far: str, loopback: str
) -> None:
    own = VM4 if family == socket.AF_INET else VM6
    member = scoped.member()
    member.tell(f"make({int(family)}, 1).bind(({own!r}, 6547)) or s[-1].listen()")
    for host, _ in ((hosts[1], far), (hosts[0], own)):
        with client(host, family) as asker:
            asker.connect((own, 6547))
            asker.sendall(b"question")
            member.tell("s.append(s[0].accept()[0])")
            assert member.tell("s[-1].recv(99)") == "question"
            member.tell("s[-1].sendall(b'answer')")
            assert asker.recv(99) == b"answer"


def test_a_socket_that_left_its_cgroup(hosts: Hosts, wire: Wire, scoped: Scoped) -> None:
    """cgroup2 counts a socket by the cgroup it was made in, net_cls by its process's."""
    member = scoped.member()
    member.tell("bool(make(2, 2))")
    root = scoped.directory().parents[len(Path(CGROUP).parts) - (scoped.means == "net_cls")]
    (root / "cgroup.procs").write_text(str(member.pid))
    member.tell(f"s[-1].connect(({FAR4!r}, 443)) or s[-1].send(b'left')")
    out = any(b"left" in packet for packet in wire.sent())
    assert out == (scoped.means == "net_cls")


def test_emptied_and_filled_again(wire: Wire, scoped: Scoped) -> None:
    for _ in range(2):
        member = scoped.member()
        assert member.send(socket.AF_INET, FAR4, 443) == "refused"
        member.close()
        scoped.members.remove(member)
    assert not wire.sent()


def test_a_cgroup_made_anew_is_known_at_the_next_look(wire: Wire, scoped: Scoped) -> None:
    """Without ``moved`` in ``refresh`` the rule names an inode that no process is in."""
    directory = scoped.directory()
    directory.rmdir()
    if scoped.means == "cgroup2":
        directory.parent.rmdir()
    scoped.enforcer.refresh()
    assert scoped.member().send(socket.AF_INET, FAR4, 443) == "refused"
    assert not wire.sent()


def test_two_scopes_of_one_namespace(hosts: Hosts, make_scoped: MakeScoped) -> None:
    scoped = make_scoped(f"{ROOM}.one", f"{ROOM}.two")
    scoped.install()
    for number, path in enumerate((f"{ROOM}.one", f"{ROOM}.two")):
        assert scoped.member(path).connect(socket.AF_INET, FAR4, 443) == "connected"
        gate = listener(scoped.enforcers[number], "transparent", socket.AF_INET)
        gate.accept()[0].close()
    assert scoped.enforcers[0].gate_ports.isdisjoint(scoped.enforcers[1].gate_ports)


def test_nothing_is_left_behind(hosts: Hosts, make_scoped: MakeScoped) -> None:
    def listing() -> tuple[Any, ...]:
        mount = cgroup2_mount()
        assert mount is not None
        ruleset = hosts[0].run(["nft", "list", "ruleset"]).out
        return ruleset, sorted(path.name for path in mount.glob(f"{ROOM}*")), find_net_cls()

    before = listing()
    scoped = make_scoped()
    scoped.install()
    scoped.member()
    gate = scoped.enforcer.gate_cgroup
    scoped.close()
    scoped.members, scoped.enforcers = [], []
    assert listing() == before
    assert gate is None or not gate.exists()


def test_processes_are_let_go_when_the_rules_go(make_scoped: MakeScoped) -> None:
    scoped = make_scoped()
    scoped.install()
    member, directory = scoped.member(), scoped.directory()
    for enforcer in scoped.enforcers:
        enforcer.remove()
    scoped.enforcers = []
    assert not directory.exists()
    assert member.tell("True")


@pytest.fixture
def whole(hosts: Hosts) -> None:
    """Without any means the whole namespace is restricted, and status says why; the rules stay."""

    def limited(*arguments: Any) -> Any:
        capabilities, gate = real_probe(*arguments)
        return replace(capabilities, socket_cgroupv2=False, meta_cgroup=False), gate

    scope = Scope(name="dockerd", netns=hosts[0].network_path, cgroup=CGROUP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enforcer_module, "probe", limited)
        enforcer = Enforcer(Config(policy="/none", scopes=[scope]), scope)
    try:
        enforcer.install()
        said = enforcer.describe()
        assert (said["scoping"], said["table"]) == ("namespace", "ramnet")
        assert "WSL" in said["scoping_reason"]
        with client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as anybody:
            anybody.connect((FAR4, 443))
            with pytest.raises((ConnectionRefusedError, PermissionError)):
                anybody.send(b"x")
                anybody.send(b"x")
    finally:
        enforcer.close()


@pytest.mark.parametrize("then", ["install", "remove"])
def test_the_table_of_another_means_goes(whole: None, hosts: Hosts, then: str) -> None:
    """What an earlier run put up for the whole namespace does not outlive it."""
    scope = Scope(name="dockerd", netns=hosts[0].network_path, cgroup=CGROUP)
    enforcer = Enforcer(Config(policy="/none", scopes=[scope]), scope)
    try:
        assert enforcer.describe()["scoping"] == "cgroup2"
        if then == "install":
            enforcer.install()
            tables = hosts[0].run(["nft", "list", "tables"]).out
            assert "ramnet_dockerd" in tables
            assert "inet ramnet\n" not in tables
    finally:
        enforcer.remove()
    assert "ramnet" not in hosts[0].run(["nft", "list", "tables"]).out
