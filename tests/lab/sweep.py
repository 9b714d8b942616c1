"""What a lab leaves on the machine, and how the remains of one that crashed go away."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "ramnet-lab-"
_OWNER = "owner"
_CGROUPS = Path("/sys/fs/cgroup")


def _birth(pid: int) -> str | None:
    """The start time of a process, which a re-used pid does not share (proc_pid_stat(5), 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def make_directory() -> Path:
    """Make a directory that belongs to this process and hold its name for cgroups too."""
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    directory.chmod(0o755)  # the unprivileged gate walks through it
    (directory / _OWNER).write_text(f"{os.getpid()} {_birth(os.getpid())}")
    return directory


def remove_directory(directory: Path) -> None:
    """Remove a lab's directory and cgroups; its hosts must be closed."""
    for cgroup in _cgroups_of(directory.name):
        for path, _, _ in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()
    shutil.rmtree(directory, ignore_errors=True)


def _cgroups_of(name: str) -> Iterator[Path]:
    """A lab's cgroups, in every hierarchy of a cgroup v1, v2 or hybrid machine."""
    yield from (path for path in (_CGROUPS / name, *_CGROUPS.glob(f"*/{name}")) if path.is_dir())


def sweep() -> list[Path]:
    """Remove what labs of ended processes left and return their directories."""
    swept = []
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            pid, birth = (directory / _OWNER).read_text().split()
        except (OSError, ValueError):
            continue  # being made at this moment, or not ours
        if _birth(int(pid)) != birth:
            remove_directory(directory)
            swept.append(directory)
    return swept
