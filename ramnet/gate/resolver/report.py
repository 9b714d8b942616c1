"""Audit events of the resolver: each name once in a while, and never more than a rate.

A client asks the same name several times within a second, and one that asks for random names
must not push everything else out of the log.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from ramnet.audit import Event, Verdict

REPEAT_AFTER: Final = 60.0
"""Seconds until the same news of the same name is written again."""
RATE_LIMIT: Final = 200
"""Events a second."""
REMEMBERED: Final = 8192


class EventWriter(Protocol):
    """Where events go; ``audit.EventLog`` is one."""

    def write(self, event: Event) -> None:
        """Take ``event``; never raises."""


class Reporter:
    """Writes what is new."""

    def __init__(self, scope: str, log: EventWriter, clock: Callable[[], float]) -> None:
        self._scope, self._log, self._clock = scope, log, clock
        self._told: OrderedDict[tuple[str, str, str | None], float] = OrderedDict()
        self._second, self._written = 0, 0
        self.suppressed = 0
        """Events that the rate kept out of the log."""

    def name(
        self, name: str, verdict: Verdict, entry: str | None = None, reason: str | None = None
    ) -> None:
        """A name was decided, or could not be resolved."""
        now, news = self._clock(), (name, verdict, reason)
        if self._told.get(news, now - REPEAT_AFTER) > now - REPEAT_AFTER:
            return
        self._told[news] = now
        self._told.move_to_end(news)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        if self._may_write(int(now)):
            self._log.write(
                Event(
                    scope=self._scope,
                    kind="dns",
                    name=name,
                    verdict=verdict,
                    entry=entry,
                    reason=reason,
                )
            )

    def service(self, reason: str) -> None:
        """News of the resolver itself."""
        self._log.write(Event(scope=self._scope, kind="service", verdict="info", reason=reason))

    def _may_write(self, second: int) -> bool:
        if second != self._second:
            self._second, self._written = second, 0
        self._written += 1
        self.suppressed += self._written > RATE_LIMIT
        return self._written <= RATE_LIMIT
