"""Capabilities: each is found by doing it, and can be taken away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.errors import ConfigError, KernelRefusedError
from ramnet.kernel.cgroup import GateCgroup
from ramnet.kernel.probe import probe
from ramnet.ruleset import Capabilities, Tier
from tests.kernel.conftest import new_enforcer
from tests.lab.host import Host

_NAMES = sorted(Capabilities().listed())
_NEEDED = {"skuid"}
_REDIRECTS = {"sets", "ct", "nat_redirect", "reject", "counter", "ct_mark"}


@pytest.fixture
def gate_cgroup(hosts: tuple[Host, Host]) -> Iterator[GateCgroup]:
    cgroup = GateCgroup(2**40)
    yield cgroup
    cgroup.remove()


def test_this_kernel_has_them(gate_cgroup: GateCgroup) -> None:
    """All but those that a library or the machine's cgroup mounts may lack."""
    found, identity = probe(gate_cgroup)
    assert set(found.missing()) <= {"owner", "persist", "socket_cgroupv2", "meta_cgroup"}
    assert found.socket_cgroupv2 == (identity.cgroup is not None)


@pytest.mark.parametrize("name", _NAMES)
def test_each_can_be_taken_away(
    gate_cgroup: GateCgroup, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("RAMNET_WITHOUT", name)
    found, identity = probe(gate_cgroup)
    assert name in found.missing()
    assert name != "socket_cgroupv2" or identity.cgroup is None


def test_a_name_that_is_none_is_refused(
    gate_cgroup: GateCgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAMNET_WITHOUT", "sets, settts")
    with pytest.raises(ConfigError, match=r"no capability settts$"):
        probe(gate_cgroup)


@pytest.mark.parametrize("name", _NAMES)
def test_without_one_of_them_all_stands_or_the_start_is_refused_by_name(
    hosts: tuple[Host, Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("RAMNET_WITHOUT", name)
    if name in _NEEDED:
        with pytest.raises(KernelRefusedError, match=name):
            new_enforcer(hosts[0], tmp_path)
        return
    enforcer = new_enforcer(hosts[0], tmp_path)
    try:
        described = enforcer.describe()
        assert described["capabilities"][name] is False
        assert name in described["missing_capabilities"]
        assert enforcer.tier is (Tier.ANYIP if name in _REDIRECTS else Tier.REDIRECT)
        enforcer.install()
        assert enforcer.intact()
    finally:
        enforcer.remove()
