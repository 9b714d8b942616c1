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
    large: bool


class PipePool:
    """Lends pipes, empty, and takes them back."""

    def __init__(self) -> None:
        self._free: list[Pipe] = []
        self._free_large: list[Pipe] = []
        self._large = 0
        self.lent = 0
        """Pipes in use now."""

    def borrow(self) -> Pipe | None:
        """An empty pipe, or None when too many are out: then ask again later."""
        free = self._free_large or self._free
        if free:
            self.lent += 1
            return free.pop()
        if self.lent >= limits.PIPES_MOST:
            return None
        large = self._large < limits.PIPES_LARGE
        try:
            pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC), large)
        except OSError:  # out of descriptors: as if all were lent
            return None
        size = limits.PIPE_SIZE if large else limits.PIPE_SIZE_MORE
        with contextlib.suppress(OSError):  # EPERM past the uid's pages: the small one will do
            fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, size)
        self._large += large
        self.lent += 1
        return pipe

    def give_back(self, pipe: Pipe, *, empty: bool = True) -> None:
        """Return a pipe; one that still holds bytes is never lent again."""
        self.lent -= 1
        if empty and pipe.large:
            self._free_large.append(pipe)
        elif empty and len(self._free) < limits.PIPES_KEPT:
            self._free.append(pipe)
        else:
            self._large -= pipe.large
            _close(pipe)

    def close(self) -> None:
        """Close the pipes that nobody holds."""
        for free in (self._free, self._free_large):
            while free:
                _close(free.pop())


def _close(pipe: Pipe) -> None:
    os.close(pipe.reader)
    os.close(pipe.writer)
