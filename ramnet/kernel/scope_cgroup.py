"""The cgroup of a scope: made by us, held while the rules name it, taken away by ``down``.

In cgroup2 the rules name the scope's directory and match everything below it, at any depth.
Processes go into a leaf of it (``JOIN``), since cgroup2 lets no controller be switched on, as
container runtimes do, where processes are (cgroups(7), "no internal processes"). In net_cls the
rules name a number, which every cgroup made below takes over.
"""

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ramnet.errors import KernelRefusedError
from ramnet.kernel import libc
from ramnet.kernel.cgroup import cgroup2_mount, make_ours, place, remove_ours

JOIN: Final = "ramnet.exec"
"""The leaf that ``ramnet exec`` joins."""
_MOUNT_SOURCE: Final = "ramnet"
_CLASS_PREFIX: Final = 0x52000000
"""'R': far above the classes (handles of tc(8)) that people number by hand."""


def class_id(path: str) -> int:
    """The net_cls class of the scope cgroup ``path``: the same in every run."""
    return _CLASS_PREFIX | (zlib.crc32(path.encode()) & 0xFFFFFF)


def find_net_cls() -> tuple[Path, bool] | None:
    """Where net_cls is mounted, and whether that is a mount of ours; None where it is not."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        source, target, kind, options = line.split(" ")[:4]
        if kind == "cgroup" and "net_cls" in options.split(","):
            return Path(target.replace("\\040", " ")), source == _MOUNT_SOURCE
    return None


class ScopeCgroup:
    """The directories of one scope in cgroup2 and net_cls."""

    def __init__(self, path: str, run_dir: Path) -> None:
        """``path`` as ``ramnet.toml`` says it; nothing is made yet."""
        self.path = path.strip("/")
        self.class_id = class_id(self.path)
        self._place = run_dir / "net_cls"
        self._made: list[Path] = []

    @property
    def unified(self) -> Path | None:
        """The directory in cgroup2, whether it is there or not."""
        mount = cgroup2_mount()
        return mount and place(self.path, mount)

    @property
    def classed(self) -> Path | None:
        """The directory in net_cls; None where that is not mounted."""
        found = find_net_cls()
        return found and found[0] / self.path

    def make_unified(self) -> Path | None:
        """Make it in cgroup2; None where there is no cgroup2. Raises KernelRefusedError."""
        mount, directory = cgroup2_mount(), self.unified
        if mount is None or directory is None:
            return None
        self._made += make_ours(directory / JOIN, mount)
        return directory

    def make_classed(self) -> Path:
        """Make it in net_cls, which is mounted if need be. Raises KernelRefusedError."""
        if find_net_cls() is None:
            self._mount()
        mount, directory = find_net_cls(), self.classed
        assert mount is not None
        assert directory is not None
        self._made += make_ours(directory, mount[0])
        for member in (directory, *_below(directory)):
            number = member / "net_cls.classid"
            if number.read_text(encoding="ascii").strip() != str(self.class_id):
                _write(number, str(self.class_id))
        return directory

    def remove(self) -> None:
        """Take away what is ours; processes in it go back to the root of their hierarchy."""
        mount = cgroup2_mount()
        if mount is not None:
            leaf = place(self.path, mount) / JOIN
            _empty(leaf, mount)
            remove_ours(leaf, mount)
        if (found := find_net_cls()) is not None:
            _empty(found[0] / self.path, found[0])
            remove_ours(found[0] / self.path, found[0])
            if found[1] and not any(path.is_dir() for path in found[0].iterdir()):
                libc.unmount(str(found[0]))
                with contextlib.suppress(OSError):
                    found[0].rmdir()

    def discard(self) -> None:
        """Take away what this object made: nothing was applied that names it."""
        if self._made:
            self.remove()

    def _mount(self) -> None:
        self._place.mkdir(parents=True, exist_ok=True)
        try:
            libc.mount(_MOUNT_SOURCE, str(self._place), "cgroup", "net_cls")
        except KernelRefusedError:
            with contextlib.suppress(OSError):
                self._place.rmdir()
            raise


def _below(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*/") if path.is_dir())


def _empty(directory: Path, root: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (directory / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(OSError):
                (root / "cgroup.procs").write_text(pid, encoding="ascii")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        raise KernelRefusedError(f"cannot write {path}: {error.strerror}") from None
