"""One scope: its resolv.conf is followed, and trouble with the kernel is told once."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet import config
from ramnet.daemon import resolv_conf
from ramnet.daemon.channel import Adopted
from ramnet.daemon.guarded_scope import GuardedScope
from ramnet.daemon.resolv_conf import Choice
from ramnet.errors import ConfigError, KernelRefusedError

from .stub_service import StubEnforcer
from .test_channel import SPEC


class Scene:
    """A scope whose ``resolv.conf`` is what ``choice`` says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.choice = Choice("nameserver 192.0.2.1\n")
        self.told: list[str] = []
        monkeypatch.setattr(resolv_conf, "read_for", lambda *_, **__: self.choice)
        scope = config.Scope(name="dockerd")
        self.config = config.Config(policy="/p", scopes=[scope], state_dir=str(folder))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.enforcer = StubEnforcer(self.config, scope, self.listener)

    def guard(self) -> GuardedScope:
        return GuardedScope(
            self.config,
            self.enforcer,
            SPEC,
            netns="self",
            tell=self.told.append,
            changed=lambda: None,
        )


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(tmp_path, monkeypatch)
    yield scene
    scene.listener.close()
    os.close(scene.enforcer.namespace_descriptor)


def given(scope: GuardedScope) -> str:
    return scope.keeper._surroundings.resolv_conf


def test_a_change_of_resolv_conf_is_followed(scene: Scene) -> None:
    scope = scene.guard()
    scene.choice = Choice("nameserver 192.0.2.2\n")
    scope.look()
    assert given(scope) == "nameserver 192.0.2.2\n"


def test_a_stub_at_start_is_refused_with_the_remedy(scene: Scene) -> None:
    scene.choice = Choice(None, "a stub; set [resolver] upstream")
    with pytest.raises(ConfigError, match=r"scope dockerd: a stub; set \[resolver\] upstream"):
        scene.guard()


def test_a_stub_that_appears_later_leaves_the_last_upstreams(scene: Scene) -> None:
    scope = scene.guard()
    scene.choice = Choice(None, "a stub")
    scope.look()
    scope.look()
    assert given(scope) == "nameserver 192.0.2.1\n"
    assert scope.resolver_problem == "a stub"
    assert scene.told == ["scope dockerd: a stub"]
    scene.choice = Choice("nameserver 192.0.2.3\n")
    scope.look()
    assert given(scope) == "nameserver 192.0.2.3\n"
    assert vars(scope)["resolver_problem"] is None


def test_trouble_with_the_kernel_is_told_once_and_shown(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = scene.guard()

    def refuse() -> bool:
        raise KernelRefusedError("no")

    monkeypatch.setattr(scene.enforcer, "refresh", refuse)
    scope.look()
    scope.look()
    assert scene.told == ["scope dockerd: no"]
    assert scope.describe()["rules"]["problem"] == "no"
    monkeypatch.setattr(scene.enforcer, "refresh", lambda: False)
    scope.look()
    assert scope.describe()["rules"]["problem"] is None


def test_ports_of_a_policy_that_cannot_be_listened_on_are_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = scene.guard()
    asked: list[list[int]] = []

    def refuse(named: list[int]) -> dict[str, list[socket.socket]]:
        asked.append(named)
        raise KernelRefusedError("no")

    scope._follow_ports(Adopted(1, ports=[5000]))
    monkeypatch.setattr(scene.enforcer, "follow_ports", refuse)
    scope._follow_ports(Adopted(2, ports=[8443]))
    assert asked == [[8443]]
    assert scene.told == ["scope dockerd: ports of the policy stay refused: no"]


def test_who_asks_all_the_time_does_not_take_the_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask for the status; a local user who listens on all ports makes it dear."""
    asked: list[float] = []
    now = [100.0]

    def dear() -> dict[str, int]:
        asked.append(now[0])
        now[0] += 0.2
        return {"tcp": len(asked)}

    monkeypatch.setattr("ramnet.daemon.guarded_scope.time.monotonic", lambda: now[0])
    monkeypatch.setattr(scene.enforcer, "refused", dear)
    scope = scene.guard()
    told = [scope._refused() for _ in range(10)]
    assert (told, len(asked)) == ([{"tcp": 1}] * 10, 1)
    now[0] += 2
    assert scope._refused() == {"tcp": 2}
