"""``ramnet hold``: nothing leaves, bystanders go on, and ``run`` takes over without a gap."""

import contextlib
import errno
import fcntl
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.kernel import cgroup
from ramnet.kernel.cgroup import cgroup2_mount
from ramnet.kernel.enforcer import Enforcer
from ramnet.kernel.hold import HeldScope, Orders, hold, hold_bare, read_orders, release
from ramnet.ruleset.hold import Held, render_texts
from tests.kernel.conftest import FAR4, FAR6, VM4, VM6, Wire, client, new_enforcer
from tests.lab.host import Host

Hosts = tuple[Host, Host]
PATHS = pytest.mark.parametrize(
    ("family", "vm", "far"),
    [(socket.AF_INET, VM4, FAR4), (socket.AF_INET6, VM6, FAR6)],
    ids=["ipv4", "ipv6"],
)
_PROGRAM = Path(sys.executable).with_name("ramnet")
_TEXTS = [means for means, _ in render_texts(Held(), replace=True)]
"""What the tables of a whole namespace are written with, best first."""


def scope(vm: Host) -> HeldScope:
    return HeldScope("vm", vm.network_path)


def orders(vm: Host, tmp_path: Path) -> Orders:
    return Orders([scope(vm)], tmp_path / "lock")


@pytest.fixture(autouse=True)
def released(hosts: Hosts) -> Iterator[None]:
    yield
    with contextlib.suppress(Exception):
        hosts[0].run(["nft", "delete table inet ramnet"])


@pytest.fixture(params=range(len(_TEXTS)), ids="text-{}".format)
def held(
    request: pytest.FixtureRequest, hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> int:
    """The vm, held by one of the texts; better ones are not offered to the kernel."""
    take_from(request.param, monkeypatch)
    told: list[str] = []
    assert hold(orders(hosts[0], tmp_path), told.append) == 0
    assert told == []
    return int(request.param)


def take_from(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from ramnet.kernel import hold as module

    def fewer(held: Held, *, replace: bool) -> object:
        return list(render_texts(held, replace=replace))[number:]

    monkeypatch.setattr(module, "render_texts", fewer)


def attempt(sock: socket.socket, address: tuple[str, int]) -> int:
    """The error number with which a connection ends."""
    sock.settimeout(0.3)
    try:
        return sock.connect_ex(address)
    except TimeoutError:
        return errno.ETIMEDOUT


@PATHS
def test_nothing_leaves(
    hosts: Hosts, held: int, wire: Wire, family: int, vm: str, far: str
) -> None:
    for port in (53, 80, 443, 853, 8080):
        with client(hosts[0], family) as sock:
            code = attempt(sock, (far, port))
        assert code in (errno.ECONNREFUSED, errno.EAGAIN, errno.ETIMEDOUT, errno.EPERM)
        if _TEXTS[held].reject:
            assert code == errno.ECONNREFUSED
        with client(hosts[0], family, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.sendto(b"leak", (far, port))
    assert wire.sent() == []


@PATHS
def test_loopback_and_inbound_connections_go_on(
    hosts: Hosts, held: int, family: int, vm: str, far: str
) -> None:
    for host in hosts:
        with hosts[0].socket(family) as service, client(host, family) as theirs:
            service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            service.bind((vm, 2222))
            service.listen()
            theirs.connect((vm, 2222))
            ours, _ = service.accept()
            with ours:
                ours.sendall(b"still here")
                assert theirs.recv(64) == b"still here"


def test_an_old_inbound_connection_goes_on(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(len(_TEXTS)):
        with hosts[0].socket() as service, client(hosts[1], socket.AF_INET) as theirs:
            service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            service.bind((VM4, 2222))
            service.listen()
            theirs.connect((VM4, 2222))
            ours, _ = service.accept()
            with ours, monkeypatch.context() as patch:
                take_from(number, patch)
                hold(orders(hosts[0], tmp_path), print)
                ours.sendall(b"still here")
                assert theirs.recv(64) == b"still here"


@pytest.fixture
def outbound(hosts: Hosts) -> Iterator[tuple[socket.socket, socket.socket]]:
    with hosts[1].socket() as server, client(hosts[0], socket.AF_INET) as ours:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((FAR4, 8080))
        server.listen()
        ours.connect((FAR4, 8080))
        theirs, _ = server.accept()
        # Ends by a reset, so that nothing is sent again into the next test.
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with theirs:
            yield ours, theirs


@pytest.mark.parametrize("who_speaks", ["vm", "far"])
@pytest.mark.parametrize("number", range(len(_TEXTS)))
def test_an_old_outbound_connection_sends_nothing_more(
    hosts: Hosts,
    wire: Wire,
    outbound: tuple[socket.socket, socket.socket],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    who_speaks: str,
) -> None:
    take_from(number, monkeypatch)
    assert wire.sent()  # the handshake
    hold(orders(hosts[0], tmp_path), print)
    with contextlib.suppress(OSError):
        if who_speaks == "far":
            outbound[1].send(b"more")
            outbound[0].settimeout(0.3)
            outbound[0].recv(64)
        outbound[0].send(b"secret")
        outbound[0].send(b"secret")
    assert wire.sent() == []


class Prober:
    """Sends forbidden things from the vm until it is stopped."""

    def __init__(self, vm: Host) -> None:
        self._vm, self._stop = vm, threading.Event()
        self.rounds = 0

    def _probe(self) -> None:
        while not self._stop.is_set():
            for family, far in ((socket.AF_INET, FAR4), (socket.AF_INET6, FAR6)):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with self._vm.socket(family, kind) as sock, contextlib.suppress(OSError):
                        sock.setblocking(False)
                        sock.connect((far, 443))
                        sock.send(b"leak?")
            self.rounds += 1

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self._probe)
        thread.start()
        try:
            while self.rounds < 5:
                pass
            yield
            seen = self.rounds
            while self.rounds < seen + 5:
                pass
        finally:
            self._stop.set()
            thread.join()


def test_run_takes_over_and_hold_comes_back_without_a_gap(
    hosts: Hosts, wire: Wire, tmp_path: Path
) -> None:
    hold(orders(hosts[0], tmp_path), print)
    with Prober(hosts[0]).at_work():
        for _ in range(5):
            enforcer = new_enforcer(hosts[0], tmp_path)
            enforcer.install()
            assert "chain held" not in listing(hosts[0])
            enforcer.close()
            assert hold(orders(hosts[0], tmp_path), print) == 0
            assert "chain held" in listing(hosts[0])
    assert wire.sent() == []
    new_enforcer(hosts[0], tmp_path).remove()


def listing(vm: Host) -> str:
    return vm.run(["nft", "list table inet ramnet"]).check().out


def test_a_running_service_keeps_its_rules(
    hosts: Hosts, enforcer: Enforcer, tmp_path: Path
) -> None:
    enforcer.install()
    told: list[str] = []
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert hold(orders(hosts[0], tmp_path), told.append) == 1
    assert told == ["scope vm is not held: ramnet runs, and its own rules stand"]
    assert enforcer.intact()


def test_a_service_that_starts_does_not_keep_hold_from_closing(
    hosts: Hosts, tmp_path: Path
) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert hold(orders(hosts[0], tmp_path), print) == 0
    assert "chain held" in listing(hosts[0])


def test_a_scope_that_is_not_there_yet_is_told_and_others_are_held(
    hosts: Hosts, tmp_path: Path
) -> None:
    told: list[str] = []
    absent = HeldScope("late", f"pidfile:{tmp_path}/none")
    wanted = Orders([absent, scope(hosts[0])], tmp_path / "lock")
    assert hold(wanted, told.append) == 1
    assert "scope late is not held: cannot read pid file" in told[0]
    assert "chain held" in listing(hosts[0])


def test_what_has_no_rules_of_ours_is_held_once(hosts: Hosts) -> None:
    """As the service does it for a scope that came late and whose rules the kernel refuses."""
    assert hold_bare(scope(hosts[0])) == "everything is refused"
    assert "chain held" in listing(hosts[0])
    assert hold_bare(scope(hosts[0])) is None
    assert release(scope(hosts[0]))


def run_hold(vm: Host, config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nsenter", f"--net={vm.network_path}", str(_PROGRAM), "hold", "--config", str(config)],
        check=False, capture_output=True, text=True, timeout=20,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("scope = ", "Invalid value"),
        ("policy = '/p'", "a [[scope]] cannot be read, or there is none"),
        ("[[scope]]\nname = 7", "a [[scope]] cannot be read, or there is none"),
    ],
)
def test_without_a_configuration_the_own_namespace_is_held(
    hosts: Hosts, tmp_path: Path, text: str | None, says: str
) -> None:
    config = tmp_path / "ramnet.toml"
    if text is not None:
        config.write_text(text)
    done = run_hold(hosts[0], config)
    assert (done.returncode, says in done.stderr) == (2, True)
    assert "network namespace is held" in done.stderr
    assert "chain held" in listing(hosts[0])


def test_the_program_holds_what_the_configuration_names(hosts: Hosts, tmp_path: Path) -> None:
    config = tmp_path / "ramnet.toml"
    config.write_text(
        f'policy = "/none"\ncontrol_socket = "{tmp_path}/run/c.sock"\n[[scope]]\nname = "a"\n'
    )
    done = run_hold(hosts[0], config)
    assert (done.returncode, done.stderr) == (0, "")
    assert "chain held" in listing(hosts[0])


def test_orders_are_read_whatever_else_the_file_holds(tmp_path: Path) -> None:
    config = tmp_path / "ramnet.toml"
    config.write_text(
        'unknown = 1\ncontrol_socket = "/run/x/c.sock"\n'
        '[[scope]]\nname = "a-b"\nnetns = "pid:1"\ncgroup = "ramnet.slice"\n'
    )
    found = read_orders(config)
    assert found == Orders([HeldScope("a-b", "pid:1", "ramnet.slice")], Path("/run/x/lock"))
    assert found.scopes[0].table == "ramnet_a_b"


_SEND = """
import os, socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"leak", (sys.argv[2], 5353))
"""


@pytest.mark.parametrize("root", ["", "ramnet-test-wsl/systemd/"])
def test_a_cgroup_is_held_alone(
    hosts: Hosts, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    """Also where init, and so the scope, is below the root of the tree."""
    mount = cgroup2_mount()
    if mount is None:
        pytest.skip("there is no cgroup2")
    name = f"ramnet-test-{tmp_path.name}-{hosts[0].pid}"
    wanted = HeldScope("in-cgroup", hosts[0].network_path, name)
    name = f"{root}{name}"
    (tmp_path / "init").write_text(f"0::/{root}init.scope\n")
    monkeypatch.setattr(cgroup, "_INIT", tmp_path / "init")
    told: list[str] = []
    assert hold(Orders([wanted], tmp_path / "lock"), told.append) == 0
    try:
        assert told == []
        with client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"not held", (FAR4, 5353))
        assert len(wire.sent()) == 1
        done = subprocess.run(
            ["nsenter", f"--net={hosts[0].network_path}", sys.executable, "-I", "-S", "-c", _SEND,
             str(mount / name), FAR4], check=False, capture_output=True, timeout=10,
        )  # fmt: skip
        assert b"PermissionError" in done.stderr
        assert wire.sent() == []
    finally:
        assert release(wanted)
    assert not (mount / name).exists()
    assert not release(wanted)
