"""An initramfs of several archives, one after the other: Linux unpacks them into one root.

Uncompressed, since unpacking in an emulated machine takes longer than reading, and since every
kernel with an initramfs can read it, whichever compressions it was built with.
Source: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).resolve().parent.parent
BUILD: Final = HERE.parent / "build" / "vm-image"
PACK: Final = HERE / "image" / "pack.sh"


class Kernel(NamedTuple):
    """A bzImage, and its modules where it has any."""

    name: str
    image: Path
    modules: Path | None


def suite_root(suite: str) -> Path:
    """The directory that build_root.sh filled for a suite."""
    return BUILD / suite


def find_kernel(words: str, *, without_modules: bool = False) -> Kernel:
    """A suite's name, or the path of a bzImage (with ``modules.cpio`` beside it, or monolithic).

    Raises FileNotFoundError with what is missing.
    """
    path = Path(words)
    if not path.is_file():
        path = BUILD / f"kernel-{words}" / "vmlinuz"
    if not path.is_file():
        raise FileNotFoundError(f"there is no kernel {words!r}: neither a file nor built ({path})")
    modules = path.with_name("modules.cpio")
    return Kernel(words, path, modules if modules.is_file() and not without_modules else None)


def pack(directory: Path, output: Path) -> Path:
    """One archive of what a directory holds."""
    subprocess.run([PACK, directory, output], check=True)
    return output


def join(archives: Iterable[Path], output: Path) -> Path:
    """Write them one after the other; each is padded by cpio already."""
    with output.open("wb") as target:
        for archive in archives:
            with archive.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 22)
    return output


def make_disk(path: Path, megabytes: int, root: Path | None = None) -> Path:
    """An ext4 file system, empty or with what ``root`` holds; sparse."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(megabytes << 20)
    filled: list[str | Path] = [] if root is None else ["-d", root]
    subprocess.run(["mkfs.ext4", "-q", "-F", *filled, path], check=True)
    return path


def distribution(suite: str) -> Path:
    """The tar that ``make wsl-image`` makes of a suite."""
    return BUILD / "wsl" / f"ramnet-{suite}.tar"


def unpack(tar: Path, directory: Path) -> Path:
    """As ``wsl --import`` does; raises FileNotFoundError where it was not made."""
    if not tar.is_file():
        raise FileNotFoundError(f"there is no {tar}: make wsl-image")
    directory.mkdir()
    subprocess.run(
        ["tar", "--extract", "--file", tar, "--directory", directory, "--numeric-owner",
         "--preserve-permissions", "--xattrs"], check=True,
    )  # fmt: skip
    return directory


def shipped(suite: str, kernel: Kernel) -> str:
    """The size of the image on disk: kernel, root and modules compressed as ``make image`` does."""
    parts = [suite_root(suite) / "root.cpio", *([kernel.modules] if kernel.modules else [])]
    total = kernel.image.stat().st_size
    for part in parts:
        packed = part.with_name(f"{part.name}.zst")
        if not packed.exists() or packed.stat().st_mtime < part.stat().st_mtime:
            subprocess.run(["zstd", "-qf", "-T2", "-12", part, "-o", packed], check=True)
        total += packed.stat().st_size
    return f"{total / 1e6:.0f} MB"
