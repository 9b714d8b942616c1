"""The kernel's own listing of the rules, kept as a file so that a change of them is seen."""

from pathlib import Path

import pytest

from ramnet.ruleset import Situation, render_table
from ramnet.ruleset.grammar import parse_table
from tests.kernel.golden import ALL, listing
from tests.lab.host import Host

EACH = pytest.mark.parametrize(("path", "situation"), ALL.items(), ids=[p.stem for p in ALL])


@EACH
def test_the_listing_is_the_golden_one(
    hosts: tuple[Host, Host], path: Path, situation: Situation
) -> None:
    """Compared by meaning: nftables 1.0 and 1.1 spell some things differently."""
    assert parse_table(listing(hosts[0], situation)) == parse_table(path.read_text())


@EACH
def test_the_kernel_holds_what_was_rendered(
    hosts: tuple[Host, Host], path: Path, situation: Situation
) -> None:
    assert parse_table(listing(hosts[0], situation)) == parse_table(render_table(situation))
