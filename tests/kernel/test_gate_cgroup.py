"""The gate's cgroup comes and goes with the rules that name it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.errors import KernelRefusedError
from ramnet.kernel import cgroup
from ramnet.kernel.cgroup import GateCgroup, cgroup2_mount, join
from tests.kernel.conftest import new_enforcer
from tests.lab.host import Host


def gate_cgroups() -> set[str]:
    mount = cgroup2_mount()
    assert mount is not None
    return {path.name for path in mount.glob("ramnet.gate-*")}


def test_looking_leaves_none_behind(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    before = gate_cgroups()
    enforcer = new_enforcer(hosts[0], tmp_path)
    assert "table inet ramnet" in enforcer.plan()
    enforcer.close()
    assert gate_cgroups() == before


def test_it_stays_with_the_rules_and_goes_with_them(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    before = gate_cgroups()
    enforcer = new_enforcer(hosts[0], tmp_path)
    enforcer.install()
    enforcer.close()
    (made,) = gate_cgroups() - before
    again = new_enforcer(hosts[0], tmp_path)
    again.install()
    assert again.gate_cgroup is not None
    assert again.gate_cgroup.name == made
    again.remove()
    assert gate_cgroups() == before


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A cgroup of the gate's name with one below it, as ``--cgroup-parent`` makes it too early."""
    mount = cgroup2_mount()
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs cgroup2 and root")
    child = mount / "ramnet.gate-7" / "impostor"
    child.mkdir(parents=True)
    yield child
    for path in (child, child.parent):
        if path.exists():
            path.rmdir()


def test_nobody_can_be_below_it(foreign: Path) -> None:
    cgroup = GateCgroup(7)
    assert cgroup.make() == foreign.parent
    assert not foreign.exists()
    with pytest.raises(OSError, match="temporarily unavailable"):
        foreign.mkdir()
    cgroup.remove()
    assert not foreign.parent.exists()


def test_who_is_below_it_already_is_no_gate(foreign: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as impostor:
        join(foreign, impostor.pid)
        with pytest.raises(KernelRefusedError, match="take for the gate"):
            GateCgroup(7).make()


def test_it_lies_below_the_one_that_init_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ramnet.service may write there and to no other cgroup (its unit's ReadWritePaths=)."""
    monkeypatch.setattr(cgroup, "cgroup2_mount", lambda: tmp_path)
    beside = GateCgroup(7).make()
    assert beside == tmp_path / "ramnet.gate-7"
    (tmp_path / "ramnet.gate").mkdir()
    assert GateCgroup(7).make() == tmp_path / "ramnet.gate" / "7"
