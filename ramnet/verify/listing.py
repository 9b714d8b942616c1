"""Whether the rules of a scope stand: what the kernel lists, held against what is planned."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from ramnet.kernel.examination import Examination
from ramnet.ruleset import promises
from ramnet.ruleset.differences import Difference, compare, foreign_elements, tables_in
from ramnet.verify.report import Outcome, Verdict

_LOOKS: Final = 4
_BETWEEN: Final = 0.5
"""Seconds; a running service follows addresses and networks four times a second."""
PROBE: Final = "rules"


def differences(found: Examination) -> list[Difference]:
    """Of the rules and of what the sets of near networks hold."""
    text = found.planned.text
    near = foreign_elements(text, found.elements)
    return compare(text, found.standing) + near + compare(found.cover, found.standing)


def settled(look: Callable[[], Examination]) -> Examination:
    """Look until all is as planned, or a difference has stayed through several looks."""
    found = look()
    for _ in range(_LOOKS - 1):
        if not found.in_force or not (differences(found) or found.unrouted):
            break
        time.sleep(_BETWEEN)
        found = look()
    return found


def read(found: Examination) -> Iterator[Outcome]:
    """One outcome for each thing that is missing or foreign, or one that says all stands."""
    scope, count = found.scope.name, _count(found)
    sent = f"nft list table, {count} rules, routes, routing rules, sysctls"
    if not found.in_force:
        why = "everything is held by `ramnet hold`" if found.held else "no rules stand here"
        why += "; is ramnet running? (ramnet run)"
        yield Outcome(scope, promises.STANDING, PROBE, Verdict.NOT_TESTED, sent, why)
        return
    wrong = differences(found)
    for each in wrong:
        came = f"{each.what} in chain {' '.join(each.table)} {each.chain}: {each.text}"
        yield Outcome(scope, each.promise, PROBE, Verdict.LEAKED, sent, came)
    for text in found.unrouted:
        came = f"missing: {text}"
        yield Outcome(scope, promises.NO_WAY_ROUND, PROBE, Verdict.LEAKED, sent, came)
    if not wrong and not found.unrouted:
        yield Outcome(scope, promises.STANDING, PROBE, Verdict.HELD, sent, "all of it stands")


def _count(found: Examination) -> int:
    return sum(
        line.startswith("\t\t") and " hook " not in line
        for body in tables_in(found.planned.text + found.cover).values()
        for line in body.splitlines()
    )
