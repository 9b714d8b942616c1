"""Each promise of the covering table holds, and each line of it is there for one of them."""

import pytest

from ramnet.ruleset.grammar import parse_table
from ramnet.ruleset.trace import Fate, Packet, trace
from tests.unit.ruleset.cover_rows import BEHIND, ROWS, TABLE


@pytest.mark.parametrize(("packet", "fate"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS])
def test_promise(packet: Packet, fate: Fate) -> None:
    found = trace(TABLE, packet)
    assert found == fate, "\n".join(found.rules)


def test_no_line_can_be_taken_out_unnoticed() -> None:
    before = [trace(TABLE, packet) for _, packet, _ in ROWS]
    lines = TABLE.splitlines()
    dead = set()
    for number, line in enumerate(lines):
        if line.startswith("\t\t") and " hook " not in line:
            table = parse_table("\n".join(lines[:number] + lines[number + 1 :]))
            if [trace(table, packet) for _, packet, _ in ROWS] == before:
                dead.add(line.strip())
    assert dead == BEHIND
