"""Scopes whose namespaces come late, go, and return as others; several in one service."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.processes import Process, Result, wait_until
from tests.lab.vm import Vm
from tests.system.conftest import NEAR_ONLY, POLICY, sentence
from tests.system.test_scopes import config, run_in

_BLOCKED = f"http://{at.FILES_BLOCKED.name}/"
_CURL = ("curl", "--silent", "--show-error", "--max-time", "5")
_PIDFILE = "/run/late.pid"


class Late:
    """A namespace of the vm that can be made and taken away, by a path or a pid file."""

    def __init__(self, vm: Vm, by: str) -> None:
        self._vm, self._by = vm, by
        self._sleeper: Process | None = None
        self.words = "/run/netns/late" if by == "path" else f"pidfile:{_PIDFILE}"

    def make(self) -> None:
        if self._by == "path":
            self._vm.run(["ip", "netns", "add", "late"]).check()
        else:
            script = f"echo $$ >{_PIDFILE}.new; mv {_PIDFILE}.new {_PIDFILE}; exec sleep 600"
            self._sleeper = self._vm.start(["unshare", "--net", "sh", "-c", script], log="late")
            wait_until("the pid file", self._vm.path(_PIDFILE).exists, 5)
        self.run("sh", "-ec", NEAR_ONLY).check()

    def take_away(self) -> None:
        if self._by == "path":
            self._vm.run(["ip", "netns", "del", "late"])
        elif self._sleeper is not None:
            self._sleeper.stop()
            self._vm.path(_PIDFILE).unlink()
            self._sleeper = None

    def run(self, *command: str) -> Result:
        if self._by == "path":
            return self._vm.run(["nsenter", "--net=/run/netns/late", *command])
        inner = 'exec nsenter --target $(cat "$0") --net "$@"'
        return self._vm.run(["sh", "-c", inner, _PIDFILE, *command])

    def closed(self) -> bool:
        return bool(self.run("nft", "list", "table", "inet", "ramnet").ok)


@pytest.fixture(params=["path", "pidfile"])
def late(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Late]:
    late = Late(lab.vm, request.param)
    yield late
    with contextlib.suppress(OSError):
        late.take_away()


@pytest.fixture
def service(lab: Lab) -> Iterator[Ramnet]:
    lab.ramnet.close()
    yield lab.ramnet
    lab.ramnet.close()


def state(service: Ramnet, name: str = "late") -> str:
    scopes = {scope["name"]: scope for scope in service.status()["scopes"]}
    return str(scopes[name]["state"])


def wait_closed(late: Late) -> float:
    began = time.monotonic()
    wait_until("rules in the namespace", late.closed, 5)
    return time.monotonic() - began


def test_a_namespace_that_comes_late_and_returns_as_another(
    lab: Lab, vm: Vm, service: Ramnet, late: Late
) -> None:
    more = f'[[scope]]\nname = "late"\nnetns = "{late.words}"\n'
    service.start(POLICY, config=config(lab.directory.name, more))
    assert state(service) == "waiting"
    assert state(service, "dockerd") == "guarded"
    assert "waiting" in service.command("status").check().out
    for _ in range(2):
        late.make()
        took = wait_closed(late)
        print(f"closed {took:.3f} s after it appeared")
        assert took < 1
        service.wait_status(lambda status: status["scopes"][1].get("gate_ready") is True)
        service.wait_status(lambda status: status["state"] == "enforcing")
        assert sentence(at.FILES_BLOCKED.name) in late.run(*_CURL, _BLOCKED).out
        assert sentence(at.FILES_BLOCKED.name) in run_in(vm, *_CURL, _BLOCKED).out
        late.take_away()
        service.wait_status(lambda status: status["scopes"][1]["state"] == "absent")
    late.make()
    wait_closed(late)
    service.down().check()
    assert not late.closed()


def test_two_cgroups_of_one_namespace_have_a_gate_each(lab: Lab, vm: Vm, service: Ramnet) -> None:
    more = f'[[scope]]\nname = "tools-2"\ncgroup = "{lab.directory.name}.tools"\n'
    service.start(POLICY, config=config(lab.directory.name, more))
    for scope in ("dockerd", "tools-2"):
        assert sentence(at.FILES_BLOCKED.name) in run_in(vm, *_CURL, _BLOCKED, scope=scope).out
        assert run_in(vm, *_CURL, f"http://{at.FILES_ALLOWED.name}/hello.txt", scope=scope).ok
        proxied = ("--proxy", "http://127.0.0.1:3128", _BLOCKED)
        assert sentence(at.FILES_BLOCKED.name) in run_in(vm, *_CURL, *proxied, scope=scope).out
    assert vm.run([*_CURL, _BLOCKED]).ok
    assert service.gate_pid("dockerd") != service.gate_pid("tools-2")
    service.signal(service.gate_pid("tools-2"))
    assert run_in(vm, *_CURL, f"http://{at.FILES_ALLOWED.name}/hello.txt").ok
    events = service.events("--denied")
    assert {"dockerd", "tools-2"} <= {event["scope"] for event in events}


def test_two_names_of_one_namespace_are_refused(lab: Lab, vm: Vm, service: Ramnet) -> None:
    more = '[[scope]]\nname = "whole"\nnetns = "/proc/1/ns/net"\n'
    service.write_config(config(lab.directory.name, more))
    service.write_policy(POLICY)
    refused = service.command("run")
    assert refused.code == 2
    assert "one network namespace" in refused.err
    service.down()


@pytest.mark.parametrize("dial", ["scope", "own"])
def test_from_which_namespace_the_gate_dials(
    lab: Lab, service: Ramnet, late: Late, dial: str
) -> None:
    """The late namespace has no way out of its own; what is near is dialled from it anyhow."""
    more = f'[[scope]]\nname = "late"\nnetns = "{late.words}"\ndial = "{dial}"\n'
    late.make()
    service.start(POLICY, config=config(lab.directory.name, more))
    fetched = late.run(*_CURL, f"http://{at.FILES_ALLOWED.name}/hello.txt")
    assert (f"hello from {at.FILES_ALLOWED.name}" in fetched.out) == (dial == "own"), fetched.text
    if dial == "own":
        assert sentence(at.FILES_BLOCKED.name) in late.run(*_CURL, _BLOCKED).out
    serve = (
        "python3 -m http.server 8895 --bind 127.0.0.1 & sleep 1; curl -sS http://127.0.0.1:8895/"
    )
    near = late.run("timeout", "5", "sh", "-c", f"{serve}; kill $!")
    assert "Directory listing" in near.out, near.text
    status = lab.vm.path(f"/proc/{service.gate_pid('late')}/task")
    for task in status.iterdir():
        said = (task / "status").read_text()
        assert "CapEff:\t0000000000000000" in said
        assert "NoNewPrivs:\t1" in said
        assert "Uid:\t60927\t60927\t60927\t60927" in said
