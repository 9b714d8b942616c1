"""The gate's cgroup comes and goes with the rules that name it."""

from pathlib import Path

from ramnet.kernel.cgroup import cgroup2_mount
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
