"""Tables with ``owner`` and ``persist``: nobody else changes them, and they outlive their owner.

Debian 12's libnftables does not know ``persist``; where the flags cannot be had, these tests are
skipped, and the others of this directory walk tables that are anybody's.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.config import Config, Scope
from ramnet.errors import KernelRefusedError
from ramnet.kernel.cgroup import GateCgroup
from ramnet.kernel.enforcer import Enforcer
from ramnet.kernel.hold import hold
from ramnet.kernel.probe import WITHOUT, probe
from ramnet.kernel.watch import Change
from tests.kernel.conftest import Wire, new_enforcer
from tests.kernel.test_hold import Prober, listing, orders
from tests.lab.host import Host

Hosts = tuple[Host, Host]
FLAGS = "flags owner,persist"
TIERS = pytest.mark.parametrize(
    "without", ["", "nat_redirect", "nat_redirect,route_chain"], ids=["redirect", "anyip", "split"]
)
"""Capabilities to do without; ``split`` has tables of families ip and ip6 as well."""


@pytest.fixture(scope="module", autouse=True)
def _can_be_owned() -> None:
    cgroup = GateCgroup(2**40 + os.getpid())
    found, _ = probe(cgroup)
    cgroup.remove()
    if not found.ownership:
        pytest.skip(
            f"kernel or library lacks {', '.join({'owner', 'persist'} & {*found.missing()})}"
        )


@pytest.fixture(autouse=True)
def _left_clean(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    assert "ramnet" not in hosts[0].run(["nft", "list", "tables"]).check().out


def ours(vm: Host) -> str:
    """Our tables as the kernel lists them; tables of other tests' tools may be about."""
    tables = vm.run(["nft", "list", "tables"]).check().out.splitlines()
    each = (table for table in tables if " ramnet" in table)
    return "".join(vm.run(["nft", "-s", f"list {table}"]).check().out for table in each)


@TIERS
def test_nobody_else_changes_it(
    hosts: Hosts, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    monkeypatch.setenv(WITHOUT, without)
    enforcer = new_enforcer(hosts[0], tmp_path)
    try:
        enforcer.install()
        before = ours(hosts[0])
        assert before.count(FLAGS) == before.count("table ")
        with Prober(hosts[0]).at_work():
            for command in (
                "delete table inet ramnet",
                "destroy table inet ramnet",
                "flush table inet ramnet",
                "insert rule inet ramnet output accept",
                "flush chain inet ramnet refuse",
                "add chain inet ramnet extra",
                "chain inet ramnet output { policy accept; }",
                "table inet ramnet { flags dormant; }",
                "table inet ramnet; delete table inet ramnet",
            ):
                refused = hosts[0].run(["nft", command])
                assert "Operation not permitted" in refused.err, command
            hosts[0].run(["nft", "flush ruleset"]).check()  # it passes ours by
        assert ours(hosts[0]) == before
        assert enforcer.intact()
        assert enforcer.tampered() == Change()
    finally:
        enforcer.remove()
    assert wire.sent() == []


def test_what_we_change_ourselves_goes_through(hosts: Hosts, enforcer: Enforcer) -> None:
    enforcer.install()
    with hosts[0].socket() as service:
        service.bind(("127.0.0.1", 7777))
        service.listen()
        enforcer.refresh()
        assert "7777" in listing(hosts[0])
    enforcer.refresh()
    assert "7777" not in listing(hosts[0])
    hosts[0].run(["ip", "link", "add", "bridge7", "type", "bridge"]).check()
    try:
        hosts[0].run(["ip", "addr", "add", "172.30.7.1/24", "dev", "bridge7"]).check()
        hosts[0].run(["ip", "link", "set", "dev", "bridge7", "up"]).check()
        assert enforcer.refresh()
        assert "172.30.7.0/24" in listing(hosts[0])
    finally:
        hosts[0].run(["ip", "link", "del", "bridge7"]).check()
    enforcer.apply()
    assert enforcer.intact()


_SERVICE = """
import sys
from ramnet.config import Config, Scope
from ramnet.kernel.enforcer import Enforcer
scope = Scope(name="vm", netns=sys.argv[1])
Enforcer(Config(policy="/none", scopes=[scope]), scope).install()
print("installed", flush=True)
sys.stdin.read()
"""


def kill_a_service(vm: Host) -> None:
    """Another process installs the rules and is killed: they stand, and are nobody's."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVICE, vm.network_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "installed\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "flags persist" in listing(vm)


@TIERS
def test_the_next_service_adopts_what_a_killed_one_left(
    hosts: Hosts, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    monkeypatch.setenv(WITHOUT, without)
    kill_a_service(hosts[0])
    with Prober(hosts[0]).at_work():
        enforcer = new_enforcer(hosts[0], tmp_path)
        enforcer.install()
    try:
        assert FLAGS in listing(hosts[0])
        assert enforcer.intact()
    finally:
        enforcer.remove()
    assert wire.sent() == []


STATES = ("hold", "free", "owned")


@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
def test_each_takes_the_others_place_in_one_transaction(
    hosts: Hosts, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch,
    before: str, after: str,
) -> None:  # fmt: skip
    """``run`` after ``hold``, ``hold`` after a service's end, an upgrade and its reverse."""

    def put(state: str) -> None:
        if state == "hold":
            told: list[str] = []
            assert hold(orders(hosts[0], tmp_path), told.append) == 0
            assert told == []
        else:
            monkeypatch.setenv(WITHOUT, "owner,persist" if state == "free" else "")
            enforcer = new_enforcer(hosts[0], tmp_path)
            enforcer.install()
            assert (FLAGS in listing(hosts[0])) is (state == "owned")
            enforcer.close()
            assert FLAGS not in listing(hosts[0])

    put(before)
    with Prober(hosts[0]).at_work():
        put(after)
    listed = listing(hosts[0])
    assert ("chain held" in listed) is (after == "hold")
    assert ("flags" in listed.split("set ")[0]) is (after == "owned")
    new_enforcer(hosts[0], tmp_path).remove()
    assert wire.sent() == []


def test_down_takes_an_orphan_away_whatever_it_can(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for without in ("", "owner,persist"):
        monkeypatch.delenv(WITHOUT, raising=False)
        kill_a_service(hosts[0])
        monkeypatch.setenv(WITHOUT, without)
        new_enforcer(hosts[0], tmp_path).remove()
        assert not ours(hosts[0])


@TIERS
def test_what_took_an_orphans_place_is_mended(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    """Tables without an owner again: they are put back where there is nothing to replace."""
    monkeypatch.setenv(WITHOUT, without)
    kill_a_service(hosts[0])
    monkeypatch.setenv(WITHOUT, f"owner,persist,{without}")
    enforcer = new_enforcer(hosts[0], tmp_path)
    try:
        enforcer.install()
        hosts[0].run(["nft", "flush ruleset"]).check()
        assert enforcer.restore(sets=False)
        assert enforcer.intact()
    finally:
        enforcer.remove()


def test_a_second_owner_is_refused_by_name(
    hosts: Hosts, enforcer: Enforcer, tmp_path: Path
) -> None:
    enforcer.install()
    second = new_enforcer(hosts[0], tmp_path)
    with pytest.raises(KernelRefusedError, match=r"^another process owns the table inet ramnet$"):
        second.install()
    told: list[str] = []
    assert hold(orders(hosts[0], tmp_path), told.append) == 4
    assert told == ["scope vm is not held: another process owns the table inet ramnet"]
    second.close()
    assert enforcer.intact()


def test_two_scopes_of_one_namespace(hosts: Hosts, tmp_path: Path) -> None:
    room = f"ramnet-test-{os.getpid()}.slice"
    scopes = [
        Scope(name=name, netns=hosts[0].network_path, cgroup=f"{room}/{name}")
        for name in ("one", "other")
    ]
    config = Config(
        policy="/none", scopes=scopes, control_socket=str(tmp_path / "run/control.sock")
    )
    both = [Enforcer(config, scope) for scope in scopes]
    try:
        for enforcer in both:
            enforcer.install()
        listed = ours(hosts[0])
        assert listed.count(FLAGS) == len({enforcer.table for enforcer in both}) == 2
        hosts[0].run(["nft", "flush ruleset"]).check()
        assert ours(hosts[0]) == listed
        with hosts[0].socket(socket.AF_INET) as service:
            service.bind(("127.0.0.1", 7778))
            service.listen()
            for enforcer in both:
                enforcer.refresh()
        assert all(enforcer.intact() for enforcer in both)
    finally:
        for enforcer in both:
            enforcer.remove()


@pytest.mark.parametrize("name", ["owner", "persist"])
def test_never_one_flag_alone(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(WITHOUT, name)
    enforcer = new_enforcer(hosts[0], tmp_path)
    try:
        enforcer.install()
        assert "flags" not in listing(hosts[0]).split("set ")[0]
    finally:
        enforcer.remove()
