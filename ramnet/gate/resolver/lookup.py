"""Allowed names, resolved: from the cache, or by asking upstream once for all who wait."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ramnet.gate.resolver.addresses import AddressRules
from ramnet.gate.resolver.cache import AnswerCache, AnswerKey, CachedAnswer
from ramnet.gate.resolver.errors import UpstreamError
from ramnet.gate.resolver.sanitise import Findings, assemble, find
from ramnet.gate.resolver.zones import Zones
from ramnet.wire.dns import RCODE, Answer, empty_answer
from ramnet.wire.dns.codes import EDE_NO_REACHABLE_AUTHORITY, EDE_OTHER

FLIGHT_LIMIT: Final = 512
"""Different questions on their way to upstreams at once, each with a socket or two."""
WAITER_LIMIT: Final = 20_000
"""Clients that wait for all of them; a little more than connections the proxy may hold."""
FOLLOW_LIMIT: Final = 8
"""CNAME targets that are asked for because the upstream did not."""
_FAILURE_LIFE: Final = 1
"""Seconds for which a failure is remembered (RFC 9520 section 3.2)."""

_log = logging.getLogger(__name__)

Waiter = Callable[[CachedAnswer], None]


@dataclass
class Counters:
    """Since the start."""

    forwarded: int = 0
    failures: int = 0
    overflows: int = 0


def _failure(code: int, text: str, life: int = 0) -> Answer:
    return empty_answer(RCODE.SERVFAIL, life).explained(code, text)


class Lookups:
    """Asks, joins who asks the same, keeps what came."""

    def __init__(self, zones: Zones, rules: AddressRules) -> None:
        self._loop = asyncio.get_running_loop()
        self._zones, self._rules = zones, rules
        self._waiting: dict[AnswerKey, list[Waiter]] = {}
        self._waiters = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.cache = AnswerCache()
        self.counters = Counters()

    @property
    def in_flight(self) -> int:
        """Questions on their way."""
        return len(self._waiting)

    def renew(self, zones: Zones, rules: AddressRules) -> None:
        """Other servers, or other addresses of our own: what was learnt is void."""
        self._zones, self._rules = zones, rules
        self.cache.clear()

    def close(self) -> None:
        """Drop what is under way; who waits gets no answer any more."""
        for task in self._tasks:
            task.cancel()
        self._waiting.clear()

    def ask(self, key: AnswerKey, waiter: Waiter) -> None:
        """Have ``waiter`` called with the answer; now, if it is known or cannot be asked for."""
        now = self._loop.time()
        if cached := self.cache.get(key, now):
            waiter(cached)
            return
        waiting = self._waiting.get(key)
        if self._waiters >= WAITER_LIMIT or (
            waiting is None and len(self._waiting) >= FLIGHT_LIMIT
        ):
            self.counters.overflows += 1
            waiter(CachedAnswer(_failure(EDE_OTHER, "too many questions at once"), now))
            return
        self._waiters += 1
        if waiting is not None:
            waiting.append(waiter)
        else:
            self._waiting[key] = [waiter]
            task = self._loop.create_task(self._fly(key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def answer(self, key: AnswerKey) -> CachedAnswer:
        """The same for a coroutine."""
        future: asyncio.Future[CachedAnswer] = self._loop.create_future()

        def tell(cached: CachedAnswer) -> None:
            if not future.done():
                future.set_result(cached)

        self.ask(key, tell)
        return await future

    async def _fly(self, key: AnswerKey) -> None:
        self.counters.forwarded += 1
        try:
            answer = await self._resolve(key)
        except UpstreamError as error:
            answer = _failure(EDE_NO_REACHABLE_AUTHORITY, str(error), _FAILURE_LIFE)
        except Exception:  # a mistake of ours: this question fails, the gate goes on
            _log.exception("resolving failed")
            answer = _failure(EDE_OTHER, "internal error")
        if answer.rcode == RCODE.SERVFAIL:
            self.counters.failures += 1
        cached = CachedAnswer(answer, self._loop.time())
        self.cache.put(key, cached)
        waiting = self._waiting.pop(key, [])
        self._waiters -= len(waiting)
        for waiter in waiting:
            try:
                waiter(cached)
            except Exception:  # a mistake of ours: the others get their answer
                _log.exception("answering failed")

    async def _resolve(self, key: AnswerKey) -> Answer:
        found = await self._find(key.name, key.qtype)
        for _ in range(FOLLOW_LIMIT):
            if not found.unfinished:
                break
            found = (await self._find(found.last, key.qtype)).after(found.chain)
        if found.rcode not in (RCODE.NOERROR, RCODE.NXDOMAIN):
            raise UpstreamError("the chain of CNAMEs does not end")
        return assemble(key.name, key.qtype, found, self._rules, local=key.local)

    async def _find(self, name: bytes, qtype: int) -> Findings:
        reply = await self._zones.upstreams_for(name).ask(name, qtype)
        return find(reply, name, qtype)
