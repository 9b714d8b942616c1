"""Plain HTTP carried out: ``conversation`` decides each request, this moves it.

Between requests no task waits: the relay's gatekeeper calls when the client says more. Bodies
of a known length are spliced; of chunked ones the framing is followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ramnet.gate.proxy import limits
from ramnet.gate.proxy.conversation import (
    Answer400,
    Conversation,
    Deny,
    Ended,
    Finish,
    Forward,
    Step,
)
from ramnet.gate.proxy.decision import DenyHttp
from ramnet.gate.proxy.relay import Relay
from ramnet.gate.proxy.services import DroppedError
from ramnet.gate.proxy.sockets import Peeker, send_all, take
from ramnet.wire.http import Chunked, ChunkedBody, Length, read_response_status
from ramnet.wire.result import Malformed, NeedMore

if TYPE_CHECKING:
    from ramnet.gate.proxy.connection import Connection

_SWITCHING_PROTOCOLS = 101


class HttpRequests:
    """The requests of one connection."""

    __slots__ = ("_connection", "_conversation", "_flow", "_services")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._services, self._flow = connection.services, connection.flow
        self._conversation = Conversation(
            connection.services.judge, connection.role, connection.port
        )

    async def serve(self, peeker: Peeker) -> None:
        """Decide and carry out the request that ``peeker`` sees the beginning of."""
        deadline = self._services.engine.loop.time() + limits.DECISION_TIME
        while True:
            step = self._conversation.read(peeker.data, ended=peeker.ended)
            if not isinstance(step, NeedMore):
                break
            if not await peeker.more(step.total, deadline):
                raise DroppedError("http", "a request head came too slowly")
        await self._carry_out(step, peeker)

    async def forward(self, relay: Relay, step: Forward) -> None:
        """Send one request on. ``relay`` is started here where it is new."""
        relay.pass_up(0)
        if step.upgrade:
            relay.pass_down(0)
        if not relay.started:
            relay.start()
        take(self._flow.client, step.length)
        await self._send(relay, step.head)
        if isinstance(step.body, Chunked):
            await self._send_chunks(relay)
        budget = step.body.size if isinstance(step.body, Length) else 0
        if step.upgrade:
            relay.pass_up(budget)
            relay.pass_down(0, lambda: self._run(self._read_status(relay)))
        elif relay.ends_with_down:
            relay.pass_up(budget)
        else:
            relay.pass_up(budget, lambda: self._run(self._next()))

    async def _carry_out(self, step: Step, peeker: Peeker) -> None:
        match step:
            case Forward():
                await self._forward_decided(step)
            case Deny():
                await self._connection.deny_http("http", step.ruling, step.head)
            case Answer400():
                action = self._connection.unless_recorded(DenyHttp(step.words))
                await self._connection.carry_out(action, peeker)
            case Finish():
                await self._finish(step)
            case Ended():
                if self._flow.relay is not None:
                    self._flow.relay.pass_up()
            case _:
                raise DroppedError("http", "a proxy request in an unexpected place")

    async def _forward_decided(self, step: Forward) -> None:
        relay = self._flow.relay
        if step.ruling is not None and self._conversation.requests == 1:
            self._flow.allow("http", step.ruling)
            relay = await self._connection.relay_to(step.ruling)
        assert relay is not None
        await self.forward(relay, step)

    async def _next(self) -> None:
        peeker = Peeker(self._flow.client)
        peeker.look()
        await self.serve(peeker)

    async def _send(self, relay: Relay, data: bytes) -> None:
        await send_all(relay.upstream, data, limits.IDLE_TIME)
        relay.up.moved += len(data)

    async def _send_chunks(self, relay: Relay) -> None:
        loop = self._services.engine.loop
        body, finished = ChunkedBody(), False
        peeker = Peeker(self._flow.client)
        peeker.look(limits.COPY_SIZE)
        while not finished:
            if not peeker.data:
                waited = await peeker.more(1, loop.time() + limits.IDLE_TIME)
                if peeker.ended or not waited:
                    raise DroppedError("http", "a chunked body ended in the middle")
            fed = body.feed(peeker.data)
            if isinstance(fed, Malformed):
                raise DroppedError("http", fed.reason)
            count, finished = fed
            await self._send(relay, take(self._flow.client, count))
            peeker.look(limits.COPY_SIZE)

    async def _read_status(self, relay: Relay) -> None:
        """Only the answer says whether an Upgrade was taken."""
        peeker = Peeker(relay.upstream)
        peeker.look()
        deadline = self._services.engine.loop.time() + limits.IDLE_TIME
        while isinstance(result := read_response_status(peeker.data), NeedMore):
            if peeker.ended or not await peeker.more(result.total, deadline):
                break
        if isinstance(result, Malformed | NeedMore):
            relay.pass_down()  # HTTP/0.9 or a torn answer: nothing may follow it
            relay.end_up()
        elif result.interim:
            relay.pass_down(result.length, lambda: self._run(self._read_status(relay)))
        elif result.status == _SWITCHING_PROTOCOLS:
            relay.pass_down()
            relay.pass_up()
        else:
            relay.pass_down()
            relay.pass_up(relay.up.budget, lambda: self._run(self._next()))

    async def _finish(self, step: Finish) -> None:
        """Let what is outstanding come through; the client asks again on a new connection."""
        if step.refused is not None:
            self._flow.refuse("http", step.refused)
        relay = self._flow.relay
        assert relay is not None
        relay.end_up()
        moved = -1
        while moved != relay.down.moved:
            moved = relay.down.moved
            await asyncio.sleep(limits.FINISH_TIME)
        relay.abort(step.reason)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._services.run(self._flow, work)
