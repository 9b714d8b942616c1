"""The gate's own cgroup (cgroup v2), by which the rules tell it from a borrowed uid.

libnftables resolves a cgroup's path below ``/sys/fs/cgroup`` and stores the directory's inode
when the rule is loaded, so the directory is made before the rules and kept as long as they are.
On hybrid hosts (WSL among them) cgroup2 is mounted at ``/sys/fs/cgroup/unified``.
"""

from pathlib import Path
from typing import Final

from ramnet.errors import KernelRefusedError

_ROOT: Final = Path("/sys/fs/cgroup")
GATE_CGROUP: Final = "ramnet.gate"


def cgroup2_mount() -> Path | None:
    """Where cgroup v2 is mounted at or below /sys/fs/cgroup; None where it is not."""
    for candidate in (_ROOT, _ROOT / "unified"):
        if (candidate / "cgroup.procs").exists() and (candidate / "cgroup.controllers").exists():
            return candidate
    return None


def make_gate_cgroup() -> Path | None:
    """Make the gate's cgroup and return its directory; None where there is no cgroup2.

    Raises:
        KernelRefusedError: cgroup2 is there and the directory cannot be made.
    """
    mount = cgroup2_mount()
    if mount is None:
        return None
    directory = mount / GATE_CGROUP
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise KernelRefusedError(f"cannot make cgroup {directory}: {error.strerror}") from None
    return directory


def nft_path(directory: Path) -> str:
    """The path as a rule names it."""
    return str(directory.relative_to(_ROOT))


def join(directory: Path, pid: int) -> None:
    """Move process ``pid`` into the cgroup; sockets belong to the one they are created in."""
    try:
        (directory / "cgroup.procs").write_text(str(pid), encoding="ascii")
    except OSError as error:
        raise KernelRefusedError(f"cannot join cgroup {directory}: {error.strerror}") from None


def remove_gate_cgroup() -> None:
    """Take the gate's cgroup away; one that still holds processes stays."""
    mount = cgroup2_mount()
    if mount is not None and (mount / GATE_CGROUP).is_dir():
        try:
            (mount / GATE_CGROUP).rmdir()
        except OSError:
            return
