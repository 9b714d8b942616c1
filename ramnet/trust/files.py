"""Files that are there whole or not at all."""

import os
from pathlib import Path

from ramnet.errors import RamnetError


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data``, durably. Raises RamnetError."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RamnetError(f"{path}: cannot be written: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Make what was renamed or removed in it last (fsync(2)). Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read(path: Path, limit: int = 1 << 20) -> bytes:
    """What ``path`` holds. Raises RamnetError, also beyond ``limit`` bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise RamnetError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise RamnetError(f"{path}: larger than {limit} bytes")
    return data
