"""Bytes that can no longer change, held by a descriptor instead of a path (memfd_create(2))."""

import fcntl
import os
from typing import Final

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def create(name: str) -> int:
    """An empty file in memory, yet to be sealed; ``name`` shows in /proc only."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(fd: int) -> None:
    """Allow no change any more, to anybody; position at the beginning."""
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)


def sealed_copy(source: int, limit: int) -> int | None:
    """What ``source`` (a regular file) holds from its beginning; None when beyond ``limit``."""
    fd = create("document")
    try:
        if not _copy(source, fd, limit):
            os.close(fd)
            return None
        seal(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def _copy(source: int, target: int, limit: int) -> bool:
    offset = 0
    while copied := os.sendfile(target, source, offset, min(limit + 1 - offset, 1 << 20)):
        offset += copied
        if offset > limit:
            return False
    return True
