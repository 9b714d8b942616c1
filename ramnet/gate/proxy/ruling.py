"""A name as a client wrote it, and what the policy says of it. Pure."""

from dataclasses import dataclass, replace
from typing import Protocol

from ramnet.policy import InvalidNameError, Outcome, Verdict, normalise
from ramnet.wire.name import is_address


class Decides(Protocol):
    """What is needed of ``Judge`` here."""

    @property
    def restricts(self) -> bool: ...

    @property
    def enforces(self) -> bool: ...

    def decide(self, name: str, port: int | None = None) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether ``name`` on ``port`` may be reached, and why."""

    name: str
    """Normalised; as the client wrote it where that is no name."""
    port: int
    allowed: bool
    entry: str | None = None
    """The policy entry that decided."""
    reason: str | None = None
    """Where no entry did."""
    near: bool = False
    """Decided by the rule for what is near: only a denial refuses."""
    would_deny: bool = False
    """Allowed for no other reason than that the policy says ``enforce = false``."""

    def stands(self, judge: Decides) -> bool:
        """Whether it would still be allowed."""
        return rule(judge, self.name, self.port, near=self.near).allowed


def rule(judge: Decides, host: str, port: int, *, near: bool = False) -> Ruling:
    """Decide ``host`` as it came. To what is near, all but a denied name may pass."""
    ruling = _rule(judge, host, port, near=near)
    if ruling.allowed or judge.enforces or not judge.restricts:
        return ruling
    return replace(ruling, allowed=True, would_deny=True)


def _rule(judge: Decides, host: str, port: int, *, near: bool) -> Ruling:
    name = host.removeprefix("[").removesuffix("]")
    free = near or not judge.restricts
    if is_address(name):
        return Ruling(name, port, free, None, "an address, not a name", near)
    try:
        name = normalise(host)
    except InvalidNameError as error:
        return Ruling(host, port, near, None, error.reason, near)
    verdict = judge.decide(name, port)
    allowed = verdict.outcome is not Outcome.DENIED if near else verdict.allowed
    return Ruling(name, port, allowed, verdict.entry, None, near)
