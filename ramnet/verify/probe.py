"""What a probe is, and what its answers may mean."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ramnet.ruleset.promises import Promise
from ramnet.verify.capture import Packet
from ramnet.verify.far import MARK, Far
from ramnet.verify.inside import Answer, Inside

TCP: Final = "SOCK_STREAM"
UDP: Final = "SOCK_DGRAM"
RAW: Final = "SOCK_RAW"
SERVICE: Final = 8099
"""Of the scope: greets over TCP, answers over UDP."""
QUIET: Final = 0.15
"""Seconds to wait for what must not come."""
UNROUTED: Final = {"ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"}
"""The kernel has no way there, rules or no rules."""
REFUSED_AT_ONCE: Final = {"ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "EACCES", "EPERM", "closed"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk is: its addresses and names, and who acts there.

    Attributes:
        blocked: address by IP version of a server whose name the policy refuses.
        foreign: the same of a resolver that nobody configured.
        allowed: of a server whose name is allowed; empty where nobody else may be bothered.
        secret: stands in every payload, so that it can be told in what leaves.
        decided: IP versions in which what is sent is decided by name and not just refused.
        device: the uplink.
        far: who acts beyond the wire; None where nobody does.
        member: the scope is one cgroup.
        lacks: capabilities that this kernel has not.
    """

    inside: Inside
    own: dict[int, str]
    blocked: dict[int, str]
    foreign: dict[int, str]
    allowed: dict[int, str]
    blocked_name: str
    allowed_name: str
    secret: bytes
    decided: frozenset[int]
    device: str
    tier: str
    far: Far | None = None
    member: bool = False
    lacks: frozenset[str] = frozenset()
    explicit: int | None = None


Run = Callable[[Place], Answer]
Judge = Callable[[Place, Answer], str | None]


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to try.

    Attributes:
        name: the same in every run.
        sent: for a person.
        judge: what is wrong with the answer, None where nothing is.
        may_leave: packets that are no leak; of everything else one is enough.
        must_leave: a packet without which the promise is broken.
        bare: what is sent leaves where no rules stand, which is tried first; else it proves
            nothing.
        bench: it needs somebody beyond the wire.
        why_not: a reason not to try it here.
    """

    name: str
    promise: Promise
    sent: str
    run: Run
    judge: Judge = lambda _place, _answer: None
    may_leave: Callable[[Place, Packet], bool] = lambda _place, _packet: False
    must_leave: Callable[[Place, Packet], bool] | None = None
    bare: bool = False
    bench: bool = False
    why_not: Callable[[Place], str | None] = field(default=lambda _: None)


def refused(place: Place, answer: Answer) -> str | None:
    """Promptly, by a reset, an error or words of ours."""
    if MARK in answer.data:
        return "the far end answered"
    if answer.data or answer.error in REFUSED_AT_ONCE or answer.at_once:
        return None
    return None if _can_only_drop(place, answer) else f"not refused promptly: {answer}"


def refused_as(*errors: str) -> Judge:
    """In exactly this way."""

    def judge(place: Place, answer: Answer) -> str | None:
        if answer.error in errors or _can_only_drop(place, answer):
            return None
        return f"not refused as it should be: {answer}"

    return judge


def _can_only_drop(place: Place, answer: Answer) -> bool:
    return "reject" in place.lacks and answer.error == "silence"


def not_reached(_: Place, answer: Answer) -> str | None:
    """Whatever it is told, it is not the far end that tells it."""
    return "the far end answered" if MARK in answer.data else None


def said(place: Place, answer: Answer) -> str | None:
    """In a sentence that names the host."""
    whole = place.blocked_name.encode() in answer.data and b"disallowed" in answer.data
    return None if whole else f"no sentence says why: {answer}"


def reached(_: Place, answer: Answer) -> str | None:
    """The far end has answered."""
    return None if MARK in answer.data else f"what is allowed does not work: {answer}"


def silent(_: Place, answer: Answer) -> str | None:
    """Nothing has come."""
    return None if answer.error == "silence" else f"it was let in: {answer}"


def maker(promise: Promise, version: int) -> Callable[..., Probe]:
    """Makes probes for one promise over one IP version, which stands in their names."""

    def make(name: str, sent: str, run: Run, judge: Judge = not_reached, **more: Any) -> Probe:
        return Probe(f"{name}, IPv{version}", promise, sent, run, judge, **more)

    return make
