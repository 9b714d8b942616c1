"""Pure: when to ask the policy server again, so that a fleet does not ask all at once."""

import random
from collections.abc import Callable
from typing import Final

FIRST_RETRY: Final = 5.0
"""Seconds after the first failure; each further one doubles it, up to the usual interval."""
_SPREAD: Final = 0.9
_SPREAD_AFTER_FAILURE: Final = 0.5
"""The least part of an interval. All that asked in vain did so at about the same time, so they are
spread wider; never is it more than the interval, which is what is promised."""


class Schedule:
    """How long until the next question."""

    def __init__(
        self, interval: float, chance: Callable[[float, float], float] = random.uniform
    ) -> None:
        """``interval`` in seconds; ``chance`` draws a number between two."""
        self._interval, self._chance = interval, chance
        self.failures = 0
        """In a row."""

    def wait(self) -> float:
        """Seconds, drawn anew by each call."""
        if not self.failures:
            return self._interval * self._chance(_SPREAD, 1.0)
        longest = min(self._interval, FIRST_RETRY * 2.0 ** min(self.failures - 1, 20))
        return longest * self._chance(_SPREAD_AFTER_FAILURE, 1.0)
