"""What stands in the kernel, held against what was planned: rule by rule, by meaning.

A rule that was true of the machine when the table was put and may not be now (which services
listened) is compared without that part. What a person or a tool put into our tables is a
difference as well, whatever it says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal

from ramnet.ruleset import promises
from ramnet.ruleset.grammar import Chain, GrammarError, Match, Part, Rule, parse_chain, parse_rule
from ramnet.ruleset.names import CUT_MARK, TABLE
from ramnet.ruleset.promises import Promise
from ramnet.ruleset.purposes import promise_of

_TABLE: Final = re.compile(r"^table (\w+) (\w+) \{[^\n]*\n(.*?)^\}", re.M | re.S)
_CHAIN: Final = re.compile(r"^\s*chain (\w+) \{\n(.*?)^\s*\}", re.M | re.S)
_SET: Final = re.compile(r"\bset (\w+) \{[^{}]*?elements = \{([^{}]*)\}")
_NEAR_SETS: Final = ("bridges", "containers4", "containers6")
"""Whoever is in these is reached without being asked."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One rule, chain or table that is not as planned.

    Attributes:
        what: ``missing`` was planned and is not there, ``foreign`` the other way round.
        text: the rule or the line at fault.
        promise: what is no longer kept.
        position: of a missing rule, its place in the planned chain; None for a whole chain.
    """

    what: Literal["missing", "foreign"]
    table: tuple[str, str]
    chain: str
    text: str
    promise: Promise
    position: int | None = None


def tables_in(text: str) -> dict[tuple[str, str], str]:
    """The body of each table that a planner's text makes, or a listing shows."""
    return {(family, name): body for family, name, body in _TABLE.findall(text)}


def chains_in(body: str) -> dict[str, list[str]]:
    """The lines of each chain, its hook first where it has one."""
    return {
        name: [line.strip() for line in lines.splitlines() if line.strip()]
        for name, lines in _CHAIN.findall(body)
    }


def rules_in(lines: list[str]) -> list[str]:
    """A chain's lines without its hook."""
    return lines[1:] if lines and " hook " in lines[0] else lines


def compare(planned: str, standing: Mapping[tuple[str, str], str | None]) -> list[Difference]:
    """All differences; ``standing`` has the listing of each planned table, None where it is gone.

    Interfaces are by number in both (``oif 3``).
    """
    found: list[Difference] = []
    for table, body in tables_in(planned).items():
        listing = standing.get(table)
        there = {} if listing is None else chains_in(listing)
        wanted = chains_in(body)
        for chain, lines in wanted.items():
            found += _compare_chain(table, chain, lines, there.get(chain))
        for chain in there.keys() - wanted.keys():
            found.append(_foreign(table, chain, f"chain {chain}"))
    return found


def foreign_elements(planned: str, listing: str) -> list[Difference]:
    """What the sets of near networks hold and should not."""
    wanted, there = dict(_SET.findall(planned)), dict(_SET.findall(listing))
    found = []
    for name in _NEAR_SETS:
        more = _elements(there.get(name, "")) - _elements(wanted.get(name, ""))
        found += [_foreign(("inet", TABLE), f"set {name}", each) for each in sorted(more)]
    return found


def _elements(text: str) -> set[str]:
    return {each.strip().strip('"') for each in text.split(",") if each.strip()}


def _compare_chain(
    table: tuple[str, str], chain: str, planned: list[str], standing: list[str] | None
) -> list[Difference]:
    if standing is None:
        return [
            Difference("missing", table, chain, rule, _promise(chain, rule), number)
            for number, rule in enumerate(rules_in(planned))
        ]
    found = []
    if _head(planned) != _head(standing):
        head = (standing or [""])[0]
        found.append(_foreign(table, chain, f"chain {chain} with `{head}`"))
    wanted, there = rules_in(planned), rules_in(standing)
    steps = SequenceMatcher(None, _keys(chain, wanted), _keys(chain, there), autojunk=False)
    for _, first, last, from_, until in (s for s in steps.get_opcodes() if s[0] != "equal"):
        for number in range(first, last):
            rule = wanted[number]
            promise = _promise(chain, rule)
            found.append(Difference("missing", table, chain, rule, promise, number))
        found += [_foreign(table, chain, rule) for rule in there[from_:until]]
    return found


def _promise(chain: str, rule: str) -> Promise:
    return promise_of(chain, rule) or promises.STANDING


def _foreign(table: tuple[str, str], chain: str, text: str) -> Difference:
    return Difference("foreign", table, chain, text, promises.STANDING)


def _head(lines: list[str]) -> Chain | str | None:
    if rules_in(lines) == lines:
        return None
    try:
        return parse_chain(lines[:1])
    except GrammarError:
        return lines[0]


def _keys(chain: str, rules: list[str]) -> list[tuple[Part, ...] | str]:
    return [_key(chain, rule) for rule in rules]


def _key(chain: str, text: str) -> tuple[Part, ...] | str:
    try:
        rule = parse_rule(text)
    except GrammarError:  # nothing of ours
        return text
    return _without_services(rule) if chain == "input" else rule.parts


def _without_services(rule: Rule) -> tuple[Part, ...]:
    """The services are those that listened when the rule was put."""
    if f"ct mark set {CUT_MARK:#x}" not in rule.text:
        return rule.parts
    return tuple(
        part
        for part in rule.parts
        if not (isinstance(part, Match) and part.selector == "tcp dport" and part.negated)
    )
