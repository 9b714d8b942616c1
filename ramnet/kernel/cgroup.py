"""The gate's own cgroup (cgroup v2), by which the rules tell it from a borrowed uid.

libnftables resolves a cgroup's path below ``/sys/fs/cgroup`` and stores the directory's inode
when the rule is loaded, so the directory is made before the rules and kept as long as they are.
On hybrid hosts (WSL among them) cgroup2 is mounted at ``/sys/fs/cgroup/unified``.

A rule that names a cgroup matches all below it, and ``docker run --cgroup-parent`` makes a cgroup
below whichever it is told. So the gate's own may have none below it (``cgroup.max.descendants``).
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ramnet.errors import KernelRefusedError

_ROOT: Final = Path("/sys/fs/cgroup")
_INIT: Final = Path("/proc/1/cgroup")
_OURS: Final = "trusted.ramnet"
"""Extended attribute of what we made, so that ``down`` removes what is ours and nothing else,
whichever command made it."""


def cgroup2_mount() -> Path | None:
    """Where cgroup v2 is mounted at or below /sys/fs/cgroup; None where it is not."""
    for candidate in (_ROOT, _ROOT / "unified"):
        if (candidate / "cgroup.procs").exists() and (candidate / "cgroup.controllers").exists():
            return candidate
    return None


def place(path: str, mount: Path) -> Path:
    """The directory in cgroup2 that ``ramnet.toml`` means by ``path``: where init has its slices.

    That is the root, but for a systemd that was started in a cgroup below it and may not leave it,
    as those of WSL's distributions are (``wsl-user/distro-N/systemd``).
    """
    return mount / _init_root().strip("/") / path.strip("/")


def _init_root() -> str:
    """systemd as pid 1 is in ``init.scope`` of its own root (systemd.special(7))."""
    with contextlib.suppress(OSError):
        for line in _INIT.read_text(encoding="utf-8").splitlines():
            root, scope, rest = line.removeprefix("0::").partition("/init.scope")
            if line.startswith("0::") and scope and not rest and ".." not in root.split("/"):
                return root
    return ""


def make_ours(directory: Path, mount: Path) -> list[Path]:
    """Make a cgroup and what is missing above it; what was made. Raises KernelRefusedError."""
    made = []
    for path in reversed(list(_up_to(directory, mount))):
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise KernelRefusedError(f"cannot make cgroup {path}: {error.strerror}") from None
        made.append(path)
        with contextlib.suppress(OSError):
            os.setxattr(path, _OURS, b"1")
    return made


def remove_ours(directory: Path, mount: Path) -> None:
    """Take away a cgroup and those above it, as far as they are ours and empty."""
    for path in _up_to(directory, mount):
        with contextlib.suppress(OSError):
            os.getxattr(path, _OURS)
            path.rmdir()


def _up_to(directory: Path, mount: Path) -> Iterator[Path]:
    while directory != mount:
        yield directory
        directory = directory.parent


class GateCgroup:
    """The cgroup of the gate of one network namespace.

    Each namespace has its own, so that one gate is no exception in another's rules, and two
    services on one machine do not take each other's away.
    """

    def __init__(self, namespace_inode: int) -> None:
        """``namespace_inode`` names it; nothing is made yet."""
        mount = cgroup2_mount()
        self._directory = mount and _place(mount, namespace_inode)
        self._made = False

    def make(self) -> Path | None:
        """Make it and return its directory; None where there is no cgroup2.

        Raises:
            KernelRefusedError: cgroup2 is there and the directory cannot be made, or processes
                that are not the gate are in a cgroup below it.
        """
        directory = self._directory
        if directory is not None:
            try:
                with contextlib.suppress(FileExistsError):
                    directory.mkdir()
                    self._made = True
                (directory / "cgroup.max.descendants").write_text("0", encoding="ascii")
            except OSError as error:
                raise KernelRefusedError(
                    f"cannot make cgroup {directory}: {error.strerror}"
                ) from None
            _remove_below(directory)
        return directory

    def discard(self) -> None:
        """Take it away again if ``make`` made it: nothing was applied that names it."""
        if self._made:
            self.remove()

    def remove(self) -> None:
        """Take it away; one that still holds processes stays."""
        if self._directory is not None:
            with contextlib.suppress(OSError):
                self._directory.rmdir()


def _place(mount: Path, namespace_inode: int) -> Path:
    """Below ``ramnet.gate`` where init made that, so that a service that may write there and to
    no other cgroup can work; else beside it."""
    shared = mount / "ramnet.gate"
    if shared.is_dir():
        return shared / str(namespace_inode)
    return mount / f"ramnet.gate-{namespace_inode}"


def _remove_below(directory: Path) -> None:
    """Take away what somebody made below it before it was ours."""
    below = [path for path in directory.rglob("*/") if path.is_dir()]
    for child in sorted(below, key=lambda path: len(path.parts), reverse=True):
        try:
            child.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            raise KernelRefusedError(
                f"{child} holds processes that the rules would take for the gate; end them"
            ) from None


def nft_path(directory: Path) -> str:
    """The path as a rule names it."""
    return str(directory.relative_to(_ROOT))


def join(directory: Path, pid: int) -> None:
    """Move process ``pid`` into the cgroup; sockets belong to the one they are created in."""
    try:
        (directory / "cgroup.procs").write_text(str(pid), encoding="ascii")
    except OSError as error:
        raise KernelRefusedError(f"cannot join cgroup {directory}: {error.strerror}") from None
