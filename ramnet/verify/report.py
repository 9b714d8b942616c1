"""What a walk found: one outcome for each probe, and the exit code of all."""

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

from ramnet.ruleset.promises import Promise


class Verdict(Enum):
    """``broken``: nothing left, and the promise is not kept all the same."""

    HELD = "held"
    LEAKED = "leaked"
    BROKEN = "broken"
    NOT_TESTED = "not tested"


class Outcome(NamedTuple):
    """One probe in one scope.

    Attributes:
        probe: its name, the same in every run.
        sent: what was sent, for a person.
        came: what came back, what left, or why it was not tested.
    """

    scope: str
    promise: Promise
    probe: str
    verdict: Verdict
    sent: str
    came: str

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "scope": self.scope,
            "promise": self.promise.code,
            "promise_text": self.promise.text,
            "probe": self.probe,
            "verdict": self.verdict.value,
            "sent": self.sent,
            "came": self.came,
        }


def failed(outcomes: Iterable[Outcome]) -> bool:
    """Whether any promise is not kept."""
    return any(each.verdict in (Verdict.LEAKED, Verdict.BROKEN) for each in outcomes)
