"""Files that the service keeps between two starts: written whole or not at all, read unread."""

import os
from pathlib import Path

from ramnet.daemon import memfd
from ramnet.errors import PolicyError
from ramnet.trust.files import sync_folder


def open_kept(path: Path, limit: int) -> int | None:
    """A sealed copy of what is there, at most ``limit`` bytes; None where nothing is.

    Raises PolicyError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        copy = memfd.sealed_copy(fd, limit)
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    if copy is None:
        raise PolicyError(f"{path}: larger than {limit} bytes")
    return copy


def write_whole(path: Path, document: int) -> None:
    """Replace ``path`` by what ``document`` holds, durably, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        size, offset = os.fstat(document).st_size, 0
        while offset < size:
            offset += os.sendfile(fd, document, offset, size - offset)
        os.fsync(fd)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    sync_folder(path.parent)


def remove_kept(path: Path) -> None:
    """Remove ``path``, durably, where it is there. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)
