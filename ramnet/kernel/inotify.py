"""Wakes when files in some directories change (inotify(7)), so that nobody has to look again and
again. Directories that are not there yet are waited for in the nearest one that is.
"""

import ctypes
import os
import select
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ramnet.errors import KernelRefusedError

_IN_MODIFY: Final = 0x2
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_ONLYDIR: Final = 0x0100_0000
_CHANGES: Final = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE | _IN_ONLYDIR
_PIECE: Final = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class Changes:
    """Subscriptions to some directories; what happened is not told, only that something did."""

    def __init__(self, directories: Iterable[Path]) -> None:
        """Raises KernelRefusedError where the kernel has no more inotify instances or watches, or
        a directory may not be read."""
        self._directories = tuple(dict.fromkeys(directories))
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise _error("inotify_init1")
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._watch()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a change, at most so long; whether there was one."""
        if not self._poll.poll(None if seconds is None else seconds * 1000):
            return False
        os.read(self._fd, _PIECE)
        self._watch()
        return True

    def close(self) -> None:
        """End the subscriptions."""
        os.close(self._fd)

    def _watch(self) -> None:
        """To watch once more what is watched already changes nothing."""
        for directory in self._directories:
            there = next(path for path in (directory, *directory.parents) if path.is_dir())
            if _libc.inotify_add_watch(self._fd, os.fsencode(there), _CHANGES) < 0:
                raise _error(f"to watch {there}")


def _error(call: str) -> KernelRefusedError:
    reason = os.strerror(ctypes.get_errno())
    return KernelRefusedError(f"the kernel refused {call} (inotify): {reason}")
