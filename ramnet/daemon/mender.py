"""Sets a scope's rules again at the moment when somebody else has changed them."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from ramnet.kernel.watch import Change

FIRST_PAUSE: Final = 0.01
"""Seconds between a mending and the next one; doubled while one follows the other."""
LAST_PAUSE: Final = 0.06
"""With what mending itself takes this stays below the 100 ms that are promised, and a program
that goes on destroying the rules cannot keep us busy all the time."""
QUIET: Final = 1.0
"""Seconds without a change after which the first pause counts again."""
SENTENCES: Final = 20
"""So many are told in ``SENTENCES_PERIOD`` seconds; of more, the last one and their number."""
SENTENCES_PERIOD: Final = 10.0


class Mendable(Protocol):
    """What mending needs of ``ramnet.kernel.enforcer.Enforcer``."""

    @property
    def tamper_descriptors(self) -> tuple[int, ...]:
        """Readable when rules or routes change."""

    def tampered(self) -> Change:
        """What others changed since the last call."""

    def restore(self, *, sets: bool) -> str:
        """Set again what was changed; what that was."""


class Mender:
    """Watches from ``start`` to ``stop``; the first change is mended at once."""

    def __init__(self, enforcer: Mendable, scope: str, tell: Callable[[str], None]) -> None:
        """``tell`` takes a sentence for the service's log."""
        self._enforcer, self._scope, self._tell = enforcer, scope, tell
        self._watched: tuple[int, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._pause, self._mended = FIRST_PAUSE, float("-inf")
        self._told: deque[float] = deque([float("-inf")] * SENTENCES, maxlen=SENTENCES)
        self._rules, self._who = False, ""
        self.restores = 0
        """How often something was set again since the start."""
        self._unsaid: list[str] = []

    def start(self) -> None:
        """Watch in the running event loop."""
        self._watched = self._enforcer.tamper_descriptors
        for descriptor in self._watched:
            asyncio.get_running_loop().add_reader(descriptor, self._readable)
        if self._watched:
            self._readable()

    def stop(self) -> None:
        """Mend nothing any more."""
        for descriptor in self._watched:
            asyncio.get_running_loop().remove_reader(descriptor)
        self._watched = ()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def mend(self) -> None:
        """Set everything again, now."""
        self._timer = None
        now = time.monotonic()
        again = now - self._mended < QUIET
        self._pause = min(2 * self._pause, LAST_PAUSE) if again else FIRST_PAUSE
        try:
            sets, self._rules = self._rules, False
            self._report(self._enforcer.restore(sets=sets), sets)
        except Exception as error:  # of whatever library: we come back to it
            self._say(f"scope {self._scope}: what was changed cannot be set again yet ({error})")
            self._rules = True
            self._later(LAST_PAUSE)
        self._mended = time.monotonic()

    def _readable(self) -> None:
        change = self._enforcer.tampered()
        if not (change.rules or change.routes):
            return
        self._rules |= change.rules
        self._who = change.who or self._who
        wait = self._mended + self._pause - time.monotonic()
        if self._timer is None and wait <= 0:
            self.mend()
        else:
            self._later(wait)

    def _later(self, seconds: float) -> None:
        if self._timer is None and self._watched:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.mend)

    def _report(self, found: str, sets: bool) -> None:
        who, self._who = self._who, ""
        if not found and not (sets and who):
            return
        self.restores += 1
        by = f" by {who}" if who and sets else ""
        found = found or "what our sets hold was changed"
        self._say(f"scope {self._scope}: {found}{by}; all is set again")

    def _say(self, sentence: str) -> None:
        now = time.monotonic()
        if self._unsaid or now - self._told[0] < SENTENCES_PERIOD:
            if not self._unsaid:
                asyncio.get_running_loop().call_later(SENTENCES_PERIOD, self._say_rest)
            self._unsaid.append(sentence)
            return
        self._told.append(now)
        self._tell(sentence)

    def _say_rest(self) -> None:
        *rest, last = self._unsaid
        self._unsaid.clear()
        self._tell(f"{last} (and {len(rest)} times more before that)" if rest else last)
