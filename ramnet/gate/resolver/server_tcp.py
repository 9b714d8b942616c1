"""DNS over TCP (RFC 7766): several queries a connection, answered in any order.

A connection may stay for ``IDLE`` seconds after its last whole query; single octets do not
prolong that. Where there are too many, the one that has been idle longest makes room, so that
holding connections open keeps nobody out.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Final

from ramnet.audit import Verdict
from ramnet.gate.resolver.desk import STREAM_MOST, Desk
from ramnet.wire.dns import Question

IDLE: Final = 10.0
"""Seconds."""
CONNECTION_LIMIT: Final = 256
PENDING_LIMIT: Final = 16
"""Queries of one connection that are not answered yet; then no more is read."""
_QUERY_LIMIT: Final = 4096
"""Octets; a longer query is nobody's."""
_BUFFER: Final = 2 * (2 + _QUERY_LIMIT)
_WRITE_HIGH: Final = 64 * 1024


class StreamServer:
    """Accepts and counts connections."""

    def __init__(self, desk: Desk, idle: float = IDLE, limit: int = CONNECTION_LIMIT) -> None:
        self._loop = asyncio.get_running_loop()
        self._desk, self._idle, self._limit = desk, idle, limit
        self._servers: list[asyncio.Server] = []
        self._connections: OrderedDict[_Connection, float] = OrderedDict()
        self._sweeper: asyncio.TimerHandle | None = None
        self.evicted = 0
        """Connections that were closed to make room."""

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve these listening sockets; they are closed with the server."""
        for listener in sockets:
            listener.setblocking(False)
            server = await self._loop.create_server(lambda: _Connection(self), sock=listener)
            self._servers.append(server)
        self._sweep()

    def close(self) -> None:
        """Stop serving, and cut who is connected."""
        if self._sweeper:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.abort()
        self._servers.clear()

    @property
    def connections(self) -> int:
        """Open ones."""
        return len(self._connections)

    def active(self, connection: "_Connection") -> None:
        """It was opened, or sent a whole query."""
        self._connections[connection] = self._loop.time()
        self._connections.move_to_end(connection)
        if len(self._connections) > self._limit:
            self.evicted += 1
            next(iter(self._connections)).abort()

    def gone(self, connection: "_Connection") -> None:
        """It was closed."""
        self._connections.pop(connection, None)

    def handle(self, query: bytes, connection: "_Connection") -> bool:
        """Answer one query of a connection; False where it is none."""
        send = partial(self._send, connection, self._loop.time())
        return self._desk.handle(query, STREAM_MOST, send)

    def _send(
        self,
        connection: "_Connection",
        began: float,
        _question: Question | None,
        reply: bytes,
        _fresh: float,
        _verdict: Verdict,
    ) -> None:
        self._desk.latency.observe(self._loop.time() - began)
        connection.send(reply)

    def _sweep(self) -> None:
        """Close what has been idle; the connections are in the order of their last query."""
        horizon = self._loop.time() - self._idle
        for connection, since in tuple(self._connections.items()):
            if since > horizon:
                break
            connection.abort()
        self._sweeper = self._loop.call_later(min(1.0, self._idle / 4), self._sweep)


class _Connection(asyncio.BufferedProtocol):
    """Takes whole queries out of a stream, in a buffer that does not grow."""

    def __init__(self, server: StreamServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_BUFFER)
        self._filled = 0
        self._pending = 0
        self._full = False
        """The client does not read its replies."""
        self._taking = False
        self._ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self._transport = transport
        self._server.active(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._transport = None
        self._server.gone(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's
        """Never empty: reading is paused while a whole query waits in the buffer."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        self._take()

    def eof_received(self) -> bool:
        """The client has asked all; what is pending is still answered."""
        self._ending = True
        return self._pending > 0 or self._full

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._take()

    def abort(self) -> None:
        """Close without ceremony."""
        self._server.gone(self)
        if self._transport:
            self._transport.abort()
            self._transport = None

    def send(self, reply: bytes) -> None:
        """Write one reply; the connection may be gone by now."""
        self._pending -= 1
        if self._transport:
            self._transport.write(len(reply).to_bytes(2) + reply)
            self._take()

    def _take(self) -> None:
        """Hand over the queries that are whole, as far as replies are not piling up."""
        if self._taking:
            return  # a reply that was ready at once, inside the loop below
        self._taking = True
        at = 0
        while (query := self._next(at)) is not None:
            at += 2 + len(query)
            self._pending += 1
            self._server.active(self)
            if not self._server.handle(query, self):
                self.abort()
        if at:
            self._filled -= at
            self._buffer[: self._filled] = self._buffer[at : at + self._filled]
        self._taking = False
        self._adjust()

    def _next(self, at: int) -> bytes | None:
        """The query at ``at``, if it is whole and may be handed over now."""
        if self._transport is None or self._is_busy() or self._filled < at + 2:
            return None
        size = int.from_bytes(self._buffer[at : at + 2])
        if size > _QUERY_LIMIT:
            self.abort()
            return None
        end = at + 2 + size
        return bytes(self._buffer[at + 2 : end]) if end <= self._filled else None

    def _is_busy(self) -> bool:
        return self._full or self._pending >= PENDING_LIMIT

    def _adjust(self) -> None:
        """Read on, pause, or close."""
        if self._transport is None:
            return
        if self._ending and not self._pending and not self._full:
            self._transport.close()
        elif self._is_busy():
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
