"""The hot path: datagrams that were seen before are answered by swapping the id."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ramnet.audit import Verdict
from ramnet.gate.resolver.cache import DatagramCache
from ramnet.gate.resolver.datagrams import AnyAddress, OwnAddress, Way
from ramnet.gate.resolver.desk import DATAGRAM_MOST, Desk
from ramnet.wire.dns import Question

if TYPE_CHECKING:
    from ramnet.gate.resolver.batches import Batches

BATCH: Final = 64
"""Datagrams answered before other work gets its turn."""
_RECEIVE: Final = 2048
"""Octets of a query; what is longer is cut off and so found malformed."""
_BUFFER: Final = 2**20
_SHORTEST_FRESH: Final = 0.01


class DatagramServer:
    """Reads all UDP listeners of the resolver."""

    def __init__(self, desk: Desk, *, for_any: bool = False) -> None:
        """``for_any``: the sockets answer for any address, each reply from the one asked."""
        self._loop = asyncio.get_running_loop()
        self._desk = desk
        self._ways: Callable[[socket.socket], Way] = AnyAddress if for_any else OwnAddress
        self._sockets: Sequence[socket.socket] = ()
        self.cache = DatagramCache()
        self.hits = 0
        self.unsent = 0
        """Replies that the kernel did not take."""

    def start(self, sockets: Sequence[socket.socket], on_any: Sequence[socket.socket] = ()) -> None:
        """Serve these bound sockets; they are closed with the server.

        ``on_any``: those that were bound to no address, and answer from the one that was asked.
        """
        self._sockets = (*sockets, *on_any)
        ways = (self._ways,) * len(sockets) + (AnyAddress,) * len(on_any)
        for listener, make in zip(self._sockets, ways, strict=True):
            listener.setblocking(False)
            with contextlib.suppress(OSError):  # as much as the kernel grants
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._loop.add_reader(listener, self._reader(listener, make(listener)))

    def close(self) -> None:
        """Stop serving."""
        for listener in self._sockets:
            self._loop.remove_reader(listener)
            listener.close()
        self._sockets = ()

    def _reader(self, listener: socket.socket, way: Way) -> Callable[[], None]:
        """In batches, where the system can and each reply's source is clear."""
        if isinstance(way, OwnAddress):
            with contextlib.suppress(ImportError, OSError, AttributeError, KeyError, MemoryError):
                from ramnet.gate.resolver.batches import Batches

                return partial(self._in_batches, Batches(listener), way)
        return partial(self._readable, way)

    def _in_batches(self, batches: "Batches", way: Way) -> None:
        ready, desk = self.cache.ready.get, self._desk
        now, hits, came = self._loop.time(), 0, 0
        while came < BATCH:  # what arrives meanwhile needs no turn of the loop
            answered, unsent, others = batches.answer(ready, now, desk.counters.decisions)
            if not answered and not others:
                break
            for data, client in others:
                desk.handle(data, DATAGRAM_MOST, partial(self._send, way, client, data[2:], now))
            hits, came = hits + answered, came + answered + len(others)
            self.unsent += unsent
        if hits:  # each took the turn's time at most: one look at the clock for all
            self.hits += hits
            desk.latency.observe(self._loop.time() - now, hits)

    def _readable(self, way: Way) -> None:
        receive, send, ready = way.receive, way.send, self.cache.ready.get
        decisions = self._desk.counters.decisions
        now, before = self._loop.time(), self.hits
        for _ in range(BATCH):
            try:
                data, client = receive(_RECEIVE)
            except OSError:  # nothing left, or an ICMP error of an earlier reply
                break
            found = ready(data[2:])
            if found is None or found[0] <= now:
                send_later = partial(self._send, way, client, data[2:], now)
                self._desk.handle(data, DATAGRAM_MOST, send_later)
                continue
            self.hits += 1
            decisions[found[2]] += 1
            try:
                send(data[:2] + found[1], client)
            except OSError:
                self.unsent += 1
        if self.hits > before:  # each took the batch's time at most: one look at the clock for all
            self._desk.latency.observe(self._loop.time() - now, self.hits - before)

    def _send(
        self,
        way: Way,
        client: Any,  # whatever the socket's family calls an address
        asked: bytes,
        began: float,
        question: Question | None,
        reply: bytes,
        fresh: float,
        verdict: Verdict,
    ) -> None:
        now = self._loop.time()
        self._desk.latency.observe(now - began)
        if question and question.plain and fresh > _SHORTEST_FRESH:
            self.cache.put(asked, reply[2:], now + fresh, verdict)
        try:
            way.send(reply, client)
        except OSError:
            self.unsent += 1
