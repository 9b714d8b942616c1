"""The kernel's own listing of the rules, kept as a file so that a change of them is seen."""

from ramnet.ruleset import render_table
from ramnet.ruleset.grammar import parse_table
from tests.kernel.golden import GOLDEN, SITUATION, listing
from tests.lab.host import Host


def test_the_listing_is_the_golden_one(hosts: tuple[Host, Host]) -> None:
    """Compared by meaning: nftables 1.0 and 1.1 spell some things differently."""
    assert parse_table(listing(hosts[0], SITUATION)) == parse_table(GOLDEN.read_text())


def test_the_kernel_holds_what_was_rendered(hosts: tuple[Host, Host]) -> None:
    assert parse_table(listing(hosts[0], SITUATION)) == parse_table(render_table(SITUATION))
