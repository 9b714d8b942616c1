"""Each promise holds, and each line of the table is there for one of them."""

from functools import cache

import pytest

from ramnet.ruleset import Situation, render_table
from ramnet.ruleset.grammar import parse_table
from ramnet.ruleset.trace import trace
from tests.unit.ruleset.rows import BARE, ROWS, USUAL, Row


@cache
def rendered(situation: Situation) -> str:
    return render_table(situation)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_promise(row: Row) -> None:
    fate = trace(rendered(row.situation), row.packet)
    assert fate == row.fate, "\n".join(fate.rules)


def test_every_promise_has_its_own_name() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


def _rules(situation: Situation) -> list[int]:
    """Line numbers of the rules, chain heads and sets left out."""
    lines = rendered(situation).splitlines()
    return [n for n, line in enumerate(lines) if line.startswith("\t\t") and " hook " not in line]


def _dead(situation: Situation) -> list[str]:
    """Rules without which every row of the situation has the same fate."""
    rows = [row for row in ROWS if row.situation is situation]
    before = {row.name: trace(rendered(situation), row.packet) for row in rows}
    lines = rendered(situation).splitlines()
    dead = []
    for number in _rules(situation):
        table = parse_table("\n".join(lines[:number] + lines[number + 1 :]))
        if all(trace(table, row.packet) == before[row.name] for row in rows):
            dead.append(lines[number].strip())
    return dead


def test_no_line_can_be_taken_out_unnoticed() -> None:
    assert _dead(USUAL) == []


def test_the_lines_of_bare_kernels_are_all_known() -> None:
    usual = {line.strip() for line in rendered(USUAL).splitlines()}
    assert [line for line in _dead(BARE) if line not in usual] == []
