"""Pipes for splice(2), borrowed only while bytes move.

An unprivileged uid may have 64 MiB in pipes (pipe(7), pipe-user-pages-soft); past it new pipes
shrink to 8 KiB. So large ones are few and shared, and an idle connection holds none.
"""

import contextlib
import fcntl
import os
from typing import NamedTuple

from ramnet.gate.proxy import limits


class Pipe(NamedTuple):
    """Both ends, non-blocking."""

    reader: int
    writer: int


class PipePool:
    """Lends pipes, empty, and takes them back."""

    def __init__(self) -> None:
        self._free: list[Pipe] = []
        self.lent = 0
        """Pipes in use now."""

    def borrow(self) -> Pipe | None:
        """An empty pipe, or None when too many are out: then ask again later."""
        if self._free:
            self.lent += 1
            return self._free.pop()
        if self.lent >= limits.PIPES_MOST:
            return None
        try:
            pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:  # out of descriptors: as if all were lent
            return None
        with contextlib.suppress(OSError):  # EPERM past the uid's pages: the small one will do
            fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, limits.PIPE_SIZE)
        self.lent += 1
        return pipe

    def give_back(self, pipe: Pipe, *, empty: bool = True) -> None:
        """Return a pipe; one that still holds bytes is never lent again."""
        self.lent -= 1
        if empty and len(self._free) < limits.PIPES_KEPT:
            self._free.append(pipe)
        else:
            _close(pipe)

    def close(self) -> None:
        """Close the pipes that nobody holds."""
        while self._free:
            _close(self._free.pop())


def _close(pipe: Pipe) -> None:
    os.close(pipe.reader)
    os.close(pipe.writer)
