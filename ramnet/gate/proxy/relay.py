"""A relay joins a client and an upstream socket until both have said all.

Callbacks only: once it runs, no task and no pipe is kept for an idle connection.

A socket is let go when its peer has acknowledged our last byte: afterwards the kernel's packets
for it belong to no process, so they carry no uid and our own rules would refuse them.
"""

import asyncio
import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Final

from ramnet.gate.proxy import limits
from ramnet.gate.proxy.direction import ALL, Direction
from ramnet.gate.proxy.engine import ODD, READABLE, WRITABLE, Engine
from ramnet.gate.proxy.pipes import PipePool

# include/net/tcp_states.h
_LAST_ACK: Final = 9
_CLOSING: Final = 11
_NO_WAIT: Final = (None, None)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Ended = Callable[["Relay", str | None], None]
"""Called once with the relay and, where it broke off, the reason."""


awaited: Final[set[int]] = set()
"""Descriptors on which something outside a relay waits (``sockets``): they are not to be closed
before the loop has forgotten them, and it is slow to say that it knows of none."""


def reset(sock: socket.socket) -> None:
    """Close ``sock`` so that its peer sees a reset (RST), at once."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


def tcp_state(sock: socket.socket) -> int:
    """The kernel's TCP state number; 0 for a socket that is not TCP."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return 0


class Relay:
    """Both directions between ``client`` and ``upstream``; it owns the sockets."""

    __slots__ = (
        "_asking",
        "_closing",
        "_ended",
        "_engine",
        "_over",
        "_roomless",
        "_seen",
        "_timer",
        "client",
        "down",
        "ends_with_down",
        "started",
        "touched",
        "up",
        "upstream",
    )

    def __init__(
        self,
        engine: Engine,
        pool: PipePool,
        client: socket.socket,
        upstream: socket.socket,
        ended: Ended,
    ) -> None:
        self.client, self.upstream = client, upstream
        self.up = Direction(pool, client, upstream)
        self.down = Direction(pool, upstream, client)
        self.ends_with_down = False
        """Set where nothing more may pass up: the upstream's end is the connection's end."""
        self.touched = engine.now
        """When a byte last moved, on the loop's clock."""
        self.started = False
        self._engine = engine
        self._ended = ended
        self._timer: asyncio.TimerHandle | None = None
        self._seen = 0
        self._roomless = [self.up, self.down]
        self._asking: list[Callable[[], None]] = []
        self._closing = self._over = False

    def start(self) -> None:
        """Begin to move bytes, as far as the budgets allow."""
        self.started = True
        watch, up, down = self._engine.watch, self.up, self.down
        watch(self.client.fileno(), partial(self._edge, self.client, up, down))
        watch(self.upstream.fileno(), partial(self._edge, self.upstream, down, up))

    def start_with_words(self) -> None:
        """The same where the client has spoken and all of it may pass: that goes at once, without
        a turn of the loop."""
        self.start()
        self.up.readable = True
        self.pump()

    def guard(self, gatekeeper: Callable[[], None]) -> None:
        """Before the start: let nothing pass up; call ``gatekeeper`` once there is something to
        look at."""
        self._limit(self.up, 0, gatekeeper)

    def pass_up(self, budget: int = ALL, then: Callable[[], None] | None = None) -> None:
        """Let ``budget`` bytes of the client's pass, and call ``then`` when more has come."""
        self._limit(self.up, budget, then)
        self._engine.loop.call_soon(self.pump)

    def pass_all_up(self) -> None:
        """Let all that the client says pass, from now on and without a turn of the loop."""
        self.up.budget, self.up.gatekeeper = ALL, None
        self.pump()

    def end_up(self) -> None:
        """Let nothing more pass up, ever; the relay ends with what the upstream has to say."""
        self.ends_with_down = True
        self.pass_up(0)
        with contextlib.suppress(OSError):
            self.upstream.shutdown(socket.SHUT_WR)

    def pass_down(self, budget: int = ALL, then: Callable[[], None] | None = None) -> None:
        """Let ``budget`` bytes of the upstream's pass, and call ``then`` when more has come."""
        self._limit(self.down, budget, then)
        self._engine.loop.call_soon(self.pump)

    def pump(self) -> None:
        """Move what can be moved."""
        if self._over or self._closing:
            return
        up, down = self.up, self.down
        try:
            waits = (up.pump(), down.pump())
        except OSError as error:
            self.abort(os.strerror(error.errno or 0))
            return
        moved = up.moved + down.moved
        if moved != self._seen:
            self._seen, self.touched = moved, self._engine.now
        if not (up.writable and down.writable):
            self._watch_room()
        if down.done and (up.done or self.ends_with_down):
            self._end()
        elif waits != _NO_WAIT:
            self._pump_again(waits)
        while self._asking and not self._over:
            self._asking.pop()()

    def _limit(self, way: Direction, budget: int, then: Callable[[], None] | None) -> None:
        way.budget, way.gatekeeper = budget, then and partial(self._asking.append, then)

    def _pump_again(self, waits: tuple[float | None, float | None]) -> None:
        if 0.0 in waits:
            self._engine.again(self.pump)
        elif self._timer is None:
            self._timer = self._engine.loop.call_later(limits.PIPE_WAIT, self._pump_later)

    def _watch_room(self) -> None:
        """Have it told when a full sink has room again."""
        for direction in tuple(self._roomless):
            if not direction.writable:
                self._roomless.remove(direction)
                sink = self.upstream if direction is self.up else self.client
                self._engine.watch_room(sink.fileno())

    def abort(self, reason: str) -> None:
        """Reset both sides."""
        if not self._over:
            client, upstream = self._let_go()
            reset(client)
            reset(upstream)
            if not self._closing:
                self._ended(self, reason)

    def take_client(self) -> socket.socket:
        """End the relay, the upstream closed, and give the client's socket back."""
        client, upstream = self._let_go()
        upstream.close()
        return client

    def _edge(self, sock: socket.socket, away: Direction, back: Direction, mask: int) -> None:
        """``away`` has its source in ``sock``, ``back`` its sink."""
        if mask & READABLE:
            away.readable = True
        if mask & WRITABLE:
            back.writable = True
        if mask & ODD:
            away.odd = True
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if mask & select.EPOLLERR else 0
        if self._closing:
            self._close_if_acknowledged()
        elif error:  # said here, since a guarded direction would not read it
            self.abort(os.strerror(error))
        else:
            self.pump()

    def _pump_later(self) -> None:
        self._timer = None
        self.pump()

    def _end(self) -> None:
        """Both sides have said all: report, then wait for the last acknowledgements."""
        self._closing = True
        if not self.up.done:
            with contextlib.suppress(OSError):
                self.upstream.shutdown(socket.SHUT_WR)
        if self._timer is not None:
            self._timer.cancel()
        patience = limits.CLOSE_TIME if self.up.done else limits.LINGER_TIME
        self._timer = self._engine.loop.call_later(patience, self._close)
        self._engine.lingering.add(self._close)
        self._ended(self, None)
        self._close_if_acknowledged()

    def _close_if_acknowledged(self) -> None:
        if not self._client_ended():
            return
        if {tcp_state(self.client), tcp_state(self.upstream)}.isdisjoint((_LAST_ACK, _CLOSING)):
            self._close()

    def _client_ended(self) -> bool:
        """Read away what a client says after its turn: a close with bytes unread is a reset,
        and that would take the answer from the client."""
        try:
            while not self.up.ended:
                self.up.ended = not self.client.recv(limits.COPY_SIZE, socket.MSG_TRUNC)
        except BlockingIOError:
            return False
        except OSError:
            self.up.ended = True
        return True

    def _close(self) -> None:
        if not self._over:
            for sock in self._let_go():
                sock.close()

    def _let_go(self) -> tuple[socket.socket, socket.socket]:
        self._over = True
        self._engine.lingering.discard(self._close)
        if self._timer is not None:
            self._timer.cancel()
        self.up.drop()
        self.down.drop()
        for sock in (self.client, self.upstream):
            fd = sock.fileno()  # asyncio is slow to say of a socket object that it is not there
            if self.started:
                self._engine.forget(fd)
            if fd in awaited:
                awaited.discard(fd)
                self._engine.loop.remove_reader(fd)
                self._engine.loop.remove_writer(fd)
        return self.client, self.upstream
