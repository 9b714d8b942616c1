"""One direction of a relay: bytes from a source to a sink, the many by splice(2), never copied.

A few bytes, such as a handshake's, are read and sent: that is two calls where splice takes three,
since only a read that came back short tells that nothing is left.

It has a budget, so that a client's bytes pass only as far as they were decided: nothing
(guarded), a body's length, or all. At the budget's end, and only once the source has more to
say, the gatekeeper is called; it looks at the bytes, which are still in the socket.
"""

import os
import socket
import sys
from collections.abc import Callable
from typing import Final

from ramnet.gate.proxy import limits
from ramnet.gate.proxy.pipes import Pipe, PipePool

ALL: Final = sys.maxsize
"""A budget without an end."""

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Direction:
    """Moves what it may. Its owner feeds it edges and calls ``pump``."""

    __slots__ = (
        "_fd",
        "_few",
        "_held",
        "_pipe",
        "_pool",
        "_rest",
        "_sink",
        "_source",
        "budget",
        "done",
        "ended",
        "gatekeeper",
        "moved",
        "odd",
        "readable",
        "writable",
    )

    def __init__(self, pool: PipePool, source: socket.socket, sink: socket.socket) -> None:
        self._pool = pool
        self._source, self._sink, self._fd = source, sink, source.fileno()
        self._pipe: Pipe | None = None
        self._held = 0
        self._rest = b""
        self._few = True
        self.budget = ALL
        self.gatekeeper: Callable[[], None] | None = None
        self.moved = 0
        """Bytes that reached the sink."""
        self.readable = False
        """No EAGAIN since the last edge."""
        self.writable = True
        """The same of the sink, which is taken to have room until it has none."""
        self.odd = False
        """The source has ended, or has urgent data: there a short read does not tell that it has
        no more."""
        self.ended = False
        """The source said end of file."""
        self.done = False
        """The end was passed on to the sink."""

    def pump(self) -> float | None:
        """Move until one side blocks; else the seconds after which to pump again.

        Raises OSError when either side is broken.
        """
        if (self._rest or self._held) and not (self.writable and self._flush()):
            return None
        quota = limits.SPLICE_BURST
        while self.readable and self.writable and not self.ended:  # nothing is owed to the sink
            if not self.budget:
                self._ask()
                break
            if quota <= 0:
                self._release()
                return 0.0
            if self._few:
                quota -= self._copy()
            elif self._borrowed():
                quota -= self._fill()
            else:
                return limits.PIPE_WAIT
        if self.ended and not self.done and not self._rest and not self._held:
            self._finish()
        if self._pipe is not None and not self._held:
            self._release()
        return None

    def drop(self) -> None:
        """Let the pipe go with whatever it holds."""
        self._held, held = 0, self._held
        self._rest = b""
        self._release(empty=not held)

    def _flush(self) -> bool:
        """Whether all that was taken is with the sink now."""
        return self._drain() if self._held else self._send(self._rest)

    def _copy(self) -> int:
        budget = self.budget
        count = limits.COPY_FEW if budget > limits.COPY_FEW else budget
        try:
            data = self._source.recv(count)
        except BlockingIOError:
            self.readable = False
            return 0
        got = len(data)
        if not got:
            self.ended = True
            return 0
        if budget != ALL:
            self.budget = budget - got
        if got == limits.COPY_FEW:
            self._few = False  # more of it is better spliced
        elif got < count and not self.odd:
            self.readable = False  # what comes from now on makes an edge (epoll(7))
        self._send(data)
        return got

    def _send(self, data: bytes) -> bool:
        """Whether all of it went; else the rest is kept."""
        sent = 0
        try:
            while sent < len(data):
                sent += self._sink.send(data[sent:] if sent else data)
        except BlockingIOError:
            self.writable = False
        self.moved += sent
        self._rest = data[sent:]
        return not self._rest

    def _fill(self) -> int:
        assert self._pipe is not None
        count = min(self.budget, limits.PIPE_SIZE)
        try:
            moved = os.splice(self._fd, self._pipe.writer, count, flags=_FLAGS)
        except BlockingIOError:  # the pipe was empty, so it is the source that has no more
            self.readable = False
            return 0
        if not moved:
            self.ended = True
        elif self.budget != ALL:
            self.budget -= moved
        self._held = moved
        self._few = moved < limits.COPY_FEW
        self._drain()
        return moved

    def _drain(self) -> bool:
        """Whether the pipe is empty now."""
        assert self._pipe is not None
        try:
            while self._held and self.writable:
                moved = os.splice(self._pipe.reader, self._sink.fileno(), self._held, flags=_FLAGS)
                self._held -= moved
                self.moved += moved
        except BlockingIOError:
            self.writable = False
        return not self._held

    def _ask(self) -> None:
        gatekeeper, self.gatekeeper = self.gatekeeper, None
        if gatekeeper is not None:
            gatekeeper()

    def _finish(self) -> None:
        self.done = True
        self._sink.shutdown(socket.SHUT_WR)

    def _borrowed(self) -> bool:
        if self._pipe is None:
            self._pipe = self._pool.borrow()
        return self._pipe is not None

    def _release(self, *, empty: bool = True) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pool.give_back(pipe, empty=empty)
