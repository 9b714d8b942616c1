"""Where a cgroup of ``ramnet.toml`` is: with init's own slices, wherever those are."""

from pathlib import Path

import pytest

from ramnet.kernel import cgroup

MOUNT = Path("/sys/fs/cgroup/unified")


@pytest.mark.parametrize(
    ("init", "root"),
    [
        ("0::/init.scope\n", ""),
        ("0::/wsl-user/distro-7/systemd/init.scope\n", "wsl-user/distro-7/systemd"),
        ("4:cpu:/elsewhere/init.scope\n1:name=systemd:/b/init.scope\n0::/a/init.scope\n", "a"),
        ("4:cpu:/elsewhere/init.scope\n0::/\n", ""),
        ("0::/wsl-user/distro-7\n", ""),  # an init that is no systemd makes no slices
        ("0::/a/init.scope/below\n", ""),
        ("0::/../../init.scope\n", ""),  # out of this process's cgroup namespace
        ("rubbish", ""),
        (None, ""),
    ],
)
def test_it_is_below_inits_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str | None, root: str
) -> None:
    told = tmp_path / "cgroup"
    if init is not None:
        told.write_text(init)
    monkeypatch.setattr(cgroup, "_INIT", told)
    assert cgroup.place("/ramnet.slice/", MOUNT) == MOUNT / root / "ramnet.slice"
