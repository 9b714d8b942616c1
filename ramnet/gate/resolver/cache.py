"""Two bounded caches: what upstreams said, and which octets answer which octets.

``AnswerCache`` keeps facts and outlives a policy. ``DatagramCache`` keeps decisions, ready to
send; it is emptied with every policy and every change of the surroundings.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from ramnet.audit import Verdict
from ramnet.wire.dns import Answer

ANSWER_LIMIT: Final = 20_000
ANSWER_OCTETS: Final = 16 * 2**20
DATAGRAM_LIMIT: Final = 20_000
DATAGRAM_OCTETS: Final = 8 * 2**20
_OVERHEAD: Final = 600
"""Octets that an entry costs beside its body, roughly; measured with tracemalloc."""


class AnswerKey(NamedTuple):
    """What is asked of an upstream, and whether addresses of this machine are let through."""

    name: bytes
    qtype: int
    local: bool


class CachedAnswer(NamedTuple):
    """An answer and when it came, in seconds of the loop's clock."""

    answer: Answer
    made: float

    @property
    def expires(self) -> float:
        """When it stops being true."""
        return self.made + self.answer.ttl


class AnswerCache:
    """Answers by question; the least recently used goes first."""

    def __init__(self, entries: int = ANSWER_LIMIT, octets: int = ANSWER_OCTETS) -> None:
        self._entries, self._octets = entries, octets
        self._cached: OrderedDict[AnswerKey, CachedAnswer] = OrderedDict()
        self.octets = 0

    def __len__(self) -> int:
        return len(self._cached)

    def get(self, key: AnswerKey, now: float) -> CachedAnswer | None:
        """The answer, if it is still true."""
        cached = self._cached.get(key)
        if cached is None:
            return None
        if cached.expires <= now:
            self._remove(key)
            return None
        self._cached.move_to_end(key)
        return cached

    def put(self, key: AnswerKey, cached: CachedAnswer) -> None:
        """Keep it, unless it is for one question only (time to live 0)."""
        self._remove(key)
        if cached.answer.ttl <= 0:
            return
        self._cached[key] = cached
        self.octets += self._cost(cached)
        while len(self._cached) > self._entries or self.octets > self._octets:
            self._remove(next(iter(self._cached)))

    def clear(self) -> None:
        """Forget everything."""
        self._cached.clear()
        self.octets = 0

    def _remove(self, key: AnswerKey) -> None:
        if (cached := self._cached.pop(key, None)) is not None:
            self.octets -= self._cost(cached)

    @staticmethod
    def _cost(cached: CachedAnswer) -> int:
        answer = cached.answer
        return _OVERHEAD + len(answer.body) * 2 + 40 * (len(answer.ttls) + len(answer.addresses))


class DatagramCache:
    """Message without its id -> reply without its id; the oldest goes first."""

    def __init__(self, entries: int = DATAGRAM_LIMIT, octets: int = DATAGRAM_OCTETS) -> None:
        self._entries, self._octets = entries, octets
        self.ready: OrderedDict[bytes, tuple[float, bytes, Verdict]] = OrderedDict()
        """Query -> (good until, reply, what it counts as); read directly by the hot path."""
        self.octets = 0

    def put(self, query: bytes, reply: bytes, until: float, verdict: Verdict = "info") -> None:
        """Answer ``query`` with ``reply`` until then (seconds of the loop's clock)."""
        if (old := self.ready.pop(query, None)) is not None:
            self.octets -= len(query) + len(old[1])
        self.ready[query] = (until, reply, verdict)
        self.octets += len(query) + len(reply)
        while len(self.ready) > self._entries or self.octets > self._octets:
            key, (_, oldest, _) = self.ready.popitem(last=False)
            self.octets -= len(key) + len(oldest)

    def clear(self) -> None:
        """Forget everything; the dictionary itself stays the same."""
        self.ready.clear()
        self.octets = 0
