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
from typing import Final

from ramnet.gate.proxy import limits
from ramnet.gate.proxy.direction import ALL, Direction
from ramnet.gate.proxy.engine import ODD, READABLE, WRITABLE, Engine
from ramnet.gate.proxy.pipes import PipePool

# include/net/tcp_states.h
_LAST_ACK: Final = 9
_CLOSING: Final = 11
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
        "_closing",
        "_ended",
        "_engine",
        "_over",
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
        self._closing = self._over = False

    def start(self) -> None:
        """Begin to move bytes, as far as the budgets allow."""
        self.started = True
        self._engine.watch(self.client.fileno(), self._client_edge)
        self._engine.watch(self.upstream.fileno(), self._upstream_edge)

    def start_with_words(self) -> None:
        """The same where the client has spoken and all of it may pass: that goes at once, without
        a turn of the loop."""
        self.start()
        self.up.readable = self.up.writable = True
        self.pump()

    def guard(self, gatekeeper: Callable[[], None]) -> None:
        """Let nothing pass up; call ``gatekeeper`` once there is something to look at."""
        self.pass_up(0, gatekeeper)

    def pass_up(self, budget: int = ALL, then: Callable[[], None] | None = None) -> None:
        """Let ``budget`` bytes of the client's pass, and call ``then`` when more has come."""
        self.up.budget, self.up.gatekeeper = budget, then
        self._engine.loop.call_soon(self.pump)

    def end_up(self) -> None:
        """Let nothing more pass up, ever; the relay ends with what the upstream has to say."""
        self.ends_with_down = True
        self.pass_up(0)
        with contextlib.suppress(OSError):
            self.upstream.shutdown(socket.SHUT_WR)

    def pass_down(self, budget: int = ALL, then: Callable[[], None] | None = None) -> None:
        """Let ``budget`` bytes of the upstream's pass, and call ``then`` when more has come."""
        self.down.budget, self.down.gatekeeper = budget, then
        self._engine.loop.call_soon(self.pump)

    def pump(self) -> None:
        """Move what can be moved."""
        if self._over or self._closing:
            return
        try:
            waits = [self.up.pump(), self.down.pump()]
        except OSError as error:
            self.abort(os.strerror(error.errno or 0))
            return
        moved = self.up.moved + self.down.moved
        if moved != self._seen:
            self._seen, self.touched = moved, self._engine.now
        if self.down.done and (self.up.done or self.ends_with_down):
            self._end()
        elif 0.0 in waits:
            self._engine.again(self.pump)
        elif limits.PIPE_WAIT in waits and self._timer is None:
            self._timer = self._engine.loop.call_later(limits.PIPE_WAIT, self._pump_later)

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

    def _client_edge(self, mask: int) -> None:
        if mask & READABLE:
            self.up.readable = True
        if mask & ODD:
            self.up.odd = True
        if mask & WRITABLE:
            self.down.writable = True
        self._edge(mask, self.client)

    def _upstream_edge(self, mask: int) -> None:
        if mask & READABLE:
            self.down.readable = True
        if mask & ODD:
            self.down.odd = True
        if mask & WRITABLE:
            self.up.writable = True
        self._edge(mask, self.upstream)

    def _edge(self, mask: int, sock: socket.socket) -> None:
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
