"""Pure: which events of the audit log a person wants to see."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final

from ramnet.audit import Event

_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Filter:
    """An event must be as each one says; an empty one says nothing.

    Attributes:
        since: earliest time, as events have it.
        hosts: a name, which stands for those below it too, or a pattern with ``*`` and ``?``.
        scopes: names of scopes.
        verdicts: ``allowed``, ``refused``, ``info``.
    """

    since: str = ""
    hosts: Sequence[str] = ()
    scopes: Sequence[str] = ()
    verdicts: Sequence[str] = ()

    def matches(self, event: Event) -> bool:
        """Whether ``event`` is wanted."""
        return (
            event.time >= self.since
            and (not self.scopes or event.scope in self.scopes)
            and (not self.verdicts or event.verdict in self.verdicts)
            and (not self.hosts or any(_is_of(event.name or "", host) for host in self.hosts))
        )


def _is_of(name: str, host: str) -> bool:
    name, host = name.lower(), host.lower().rstrip(".")
    if "*" in host or "?" in host:
        return fnmatchcase(name, host.replace("[", "[[]"))
    return name == host or name.endswith(f".{host}")


def read_since(text: str, now: datetime) -> str:
    """``90s``, ``10m``, ``2h``, ``7d`` before ``now``, or a date or time (ISO 8601; local where it
    has no zone), as events have it: UTC with milliseconds.

    Raises:
        ValueError: it is neither; the text says what would be.
    """
    try:
        if span := _SPAN.fullmatch(text):
            moment = now - timedelta(**{_UNITS[span[2]]: int(span[1])})
        else:
            moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a span such as 10m, 2h or 7d nor a time such as "
            "2026-11-27 or 2026-11-27T14:05:00Z"
        ) from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
