"""The servers that allowed names are asked of: which one is next, and how each is doing.

One that does not answer within ``PATIENCE`` is not given up, the next is asked beside it: a
recursive server may take seconds over a name it has not seen, and its answer is as good then.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from ramnet.config_values import Endpoint
from ramnet.gate.resolver.errors import UpstreamError
from ramnet.gate.resolver.exchange import DatagramExchange, exchange_stream
from ramnet.wire.dns import RCODE, Reply, rcode_text

PATIENCE: Final = 1.0
"""Seconds until the next server is asked too."""
TOTAL: Final = 4.5
"""Seconds for one question; the C library and Go give up at 5."""
_TICK: Final = 0.01
"""A timer of the loop may run a little early."""
_ROUNDS: Final = 4
_REST_AFTER: Final = 2
_REST: Final = 15.0
"""Seconds for which a server that failed repeatedly is asked last."""
_EDNS_REFUSED: Final = (RCODE.FORMERR, RCODE.NOTIMP, RCODE.BADVERS)


class Server:
    """One upstream and its health."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.unusable: str | None = None
        """Why it is never asked, with the remedy."""
        self.edns = True
        self.asked = 0
        self._failures = 0
        self._resting_until = 0.0
        self._last_failure: str | None = None

    def worked(self) -> None:
        """It answered."""
        self._failures, self._resting_until = 0, 0.0

    def failed(self, reason: str, now: float) -> None:
        """It did not answer, or will not serve us."""
        self._failures += 1
        self._last_failure = reason
        if self._failures >= _REST_AFTER:
            self._resting_until = now + _REST

    def resting(self, now: float) -> bool:
        """Whether the others are to be asked first."""
        return self._resting_until > now

    def status(self) -> dict[str, object]:
        """For ``ramnet status``."""
        state = "unusable" if self.unusable else "failing" if self._failures else "ok"
        reason = self.unusable or (self._last_failure if self._failures else None)
        return {
            "address": self.endpoint.address,
            "port": self.endpoint.port,
            "state": state,
            "reason": reason,
            "asked": self.asked,
        }


class Upstreams:
    """Servers that all give the same answers, in the order of preference."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = tuple(servers)

    async def ask(self, name: bytes, qtype: int) -> Reply:
        """The answer, positive or not. Raises UpstreamError within ``TOTAL`` seconds."""
        race = _Race(self.servers, name, qtype)
        try:
            return await race.run()
        finally:
            race.close()


class _Race:
    """One question on its way to one server after another, all being listened to."""

    def __init__(self, servers: Sequence[Server], name: bytes, qtype: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._name, self._qtype = name, qtype
        now = self._loop.time()
        self._ends = now + TOTAL
        usable = (server for server in servers if not server.unusable)
        self._order = sorted(usable, key=lambda server: server.resting(now))
        self._out: dict[Server, str] = {}
        self._exchanges: list[DatagramExchange] = []
        self._pending: dict[asyncio.Future[Reply | UpstreamError], Server] = {}
        self._waiting: asyncio.Future[None] | None = None

    def reasons(self) -> str:
        """What each server that is out said."""
        return "; ".join(f"{s.endpoint.address}: {reason}" for s, reason in self._out.items())

    def close(self) -> None:
        """Give every socket back."""
        for exchange in self._exchanges:
            exchange.close()
        for future in self._pending:
            future.cancel()

    async def run(self) -> Reply:
        turns = self._turns()
        newest = self._start_next(turns)
        while self._pending:
            await self._wait(min(PATIENCE, self._ends - self._loop.time()))
            done = [future for future in self._pending if future.done()]
            for future in done:
                server = self._pending.pop(future)
                if reply := self._judge(server, future.result()):
                    return reply
            if not done and self._ends - self._loop.time() < _TICK:
                raise UpstreamError(self.reasons() or "no upstream answered in time")
            if not done and newest:
                newest.failed(f"no answer within {PATIENCE:g} s", self._loop.time())
            if not done or not self._pending:
                newest = self._start_next(turns)
        raise UpstreamError(self.reasons() or "there is no usable upstream")

    async def _wait(self, seconds: float) -> None:
        """Until something pending is done, or so long: asyncio.wait for a fifth of its cost,
        since every forwarded question comes here."""
        if any(future.done() for future in self._pending):
            return
        self._waiting = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._wake)
        try:
            await self._waiting
        finally:
            timer.cancel()

    def _wake(self, _: object = None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _turns(self) -> Iterator[Server]:
        for _ in range(_ROUNDS):
            yield from self._order

    def _start_next(self, turns: Iterator[Server]) -> Server | None:
        for server in turns:
            if server not in self._out and self._start(server):
                return server
        return None

    def _start(self, server: Server) -> bool:
        server.asked += 1
        try:
            exchange = DatagramExchange(server.endpoint, self._name, self._qtype, edns=server.edns)
        except UpstreamError as error:
            self._fail(server, str(error))
            return False
        exchange.settled = self._wake
        self._exchanges.append(exchange)
        self._pending[exchange.outcome] = server
        return True

    def _fail(self, server: Server, reason: str) -> None:
        server.failed(reason, self._loop.time())
        self._out[server] = reason

    def _judge(self, server: Server, outcome: Reply | UpstreamError) -> Reply | None:
        """The reply, if it settles the question; what else it calls for is started."""
        if isinstance(outcome, UpstreamError):
            self._fail(server, str(outcome))
        elif outcome.truncated:
            stream = exchange_stream(server.endpoint, self._name, self._qtype, edns=server.edns)
            task = self._loop.create_task(stream)
            task.add_done_callback(self._wake)
            self._pending[task] = server
        elif outcome.rcode in (RCODE.NOERROR, RCODE.NXDOMAIN):
            server.worked()
            return outcome
        elif outcome.rcode in _EDNS_REFUSED and server.edns:
            server.edns = False  # older than RFC 6891, or behind something that is
            self._start(server)
        elif outcome.rcode == RCODE.SERVFAIL:  # says more about the name than about the server
            self._out[server] = "answered SERVFAIL"
        else:
            self._fail(server, f"answered {rcode_text(outcome.rcode)}")
        return None
