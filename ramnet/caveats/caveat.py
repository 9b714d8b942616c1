"""A caveat as an object, and what looking for it gives."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ramnet.caveats.facts import Facts

MAX_EVIDENCE: Final = 20
"""Lines of evidence for one caveat; what is more is counted."""
MAX_WORDS: Final = 300
"""Characters of one line of evidence."""


class State(StrEnum):
    """Whether a caveat is there."""

    ACTIVE = "active"
    COVERED = "covered"
    """It would be there, and something on this machine keeps it from counting."""
    ABSENT = "absent"
    """Looked for, and not found."""
    UNKNOWN = "unknown"
    """It could not be looked for, or what was seen does not decide it."""


LOOKED_FOR: Final = frozenset({State.ACTIVE, State.ABSENT, State.UNKNOWN})
"""The states of what is looked for on the machine."""
CONFIGURED: Final = frozenset({State.ACTIVE, State.ABSENT})
"""Those of what ``ramnet.toml`` alone decides: without it there is no report at all."""
BY_DESIGN: Final = frozenset({State.ACTIVE})
"""That of what holds on every machine."""


class Severity(StrEnum):
    """How much it matters, most first."""

    HIGH = "high"
    """What the policy does not allow can be fetched, by ordinary means."""
    MEDIUM = "medium"
    """The same, for who is privileged or sets things up for it; or a name's meaning changes."""
    LOW = "low"
    """By design, or a thing that an administrator should know of."""

    def reaches(self, other: "Severity") -> bool:
        """Whether this one is as severe as ``other``, or more."""
        order = list(Severity)
        return order.index(self) <= order.index(other)


@dataclass(frozen=True, slots=True)
class Finding:
    """A state and what was seen, one thing a line, fit for a terminal."""

    state: State
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """What ramnet may not cover.

    Attributes:
        code: its stable name.
        meaning: what can happen where it is active.
        remedy: what to do about it.
        documentation: where to read on.
        look: finds it from the facts.
        states: what it can come to on a real machine; tests/system/test_caveats.py makes each.
    """

    code: str
    title: str
    severity: Severity
    meaning: str
    remedy: str
    documentation: str
    look: Callable[[Facts], Finding]
    states: frozenset[State] = LOOKED_FOR


@dataclass(frozen=True, slots=True)
class Report:
    """A caveat and what was found of it."""

    caveat: Caveat
    finding: Finding

    def document(self) -> dict[str, Any]:
        """As ``ramnet caveats --json`` prints it; its keys are a contract."""
        caveat = self.caveat
        return {
            "code": caveat.code,
            "title": caveat.title,
            "severity": caveat.severity.value,
            "state": self.finding.state.value,
            "evidence": list(self.finding.evidence),
            "meaning": caveat.meaning,
            "remedy": caveat.remedy,
            "documentation": caveat.documentation,
        }

    def fails(self, severity: Severity) -> bool:
        """Whether it must fail a check for ``severity``: what is not known does not pass."""
        bad = self.finding.state in (State.ACTIVE, State.UNKNOWN)
        return bad and self.caveat.severity.reaches(severity)


def found(
    seen: Iterable[str], unseen: Iterable[str] = (), *, covered: Iterable[str] = ()
) -> Finding:
    """Active where anything was seen, else unknown where anything could not be, else the rest."""
    seen, unseen, covered = list(seen), [f"not known: {each}" for each in unseen], list(covered)
    if seen:
        return Finding(State.ACTIVE, bounded([*seen, *covered, *unseen]))
    if unseen:
        return Finding(State.UNKNOWN, bounded([*unseen, *covered]))
    if covered:
        return Finding(State.COVERED, bounded(covered))
    return Finding(State.ABSENT)


def unknown(*reasons: str) -> Finding:
    """Nothing was seen that decides it."""
    return Finding(State.UNKNOWN, bounded(reasons))


def bounded(lines: Iterable[str]) -> tuple[str, ...]:
    """Each line once, printable and short, and no more of them than a person reads."""
    distinct = list(dict.fromkeys(_printable(line) for line in lines))
    more = len(distinct) - MAX_EVIDENCE
    return (*distinct[:MAX_EVIDENCE], f"and {more} more") if more > 0 else tuple(distinct)


def _printable(line: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in line[: MAX_WORDS + 1])
    return shown if len(shown) <= MAX_WORDS else f"{shown[:MAX_WORDS]}..."
