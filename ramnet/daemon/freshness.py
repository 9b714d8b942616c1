"""Pure: how long a signed policy is good, by a clock that may be wrong.

The last time seen counts whatever the clock says, so that one set back revives nothing. A clock
that is ahead before NTP must not expire a good policy either: as long as nothing has set it and
no server was heard since the start, that is waited for, for ``PATIENCE``.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

PATIENCE: Final = 300.0
"""Seconds since the start."""

_LAST: Final = 253402300799.0
"""The last second that can be written (RFC 3339 has four digits for the year)."""

State = Literal["fresh", "expired", "overdue"]
"""``expired``: within grace; ``overdue``: beyond it."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """What is known of the policy in force; all times are Unix times."""

    expires: float
    seen: float
    heard: bool
    """Whether the server was heard since the start."""

    def state(self, now: float, grace: float, *, up: float, synchronised: bool) -> State:
        """``now`` by the clock; ``up`` seconds since the start."""
        late = max(now, self.seen) - self.expires
        if late < 0:
            return "fresh"
        if late < grace:
            return "expired"
        unsure = not self.heard and not synchronised and up < PATIENCE
        return "expired" if unsure else "overdue"


def until(unix: float) -> str:
    """A time for a sentence: minutes are enough."""
    return datetime.fromtimestamp(min(unix, _LAST), UTC).strftime("%Y-%m-%d %H:%M UTC")


def moment(unix: float) -> str:
    """A time for a program: RFC 3339, UTC, milliseconds, as events have it."""
    text = datetime.fromtimestamp(min(unix, _LAST), UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def sentence(expires: float) -> str:
    """What a refused person reads of a policy that is overdue."""
    return (
        f"The policy has not been renewed and expired at {until(expires)}; connect this machine "
        "to its policy server, or run: ramnet refresh"
    )
