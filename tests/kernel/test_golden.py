"""The kernel's own listing of the rules, kept as a file so that a change of them is seen."""

from pathlib import Path

import pytest

from ramnet.errors import KernelRefusedError
from ramnet.ruleset.grammar import parse_table
from tests.kernel.golden import ALL, Golden, listing
from tests.lab.host import Host

EACH = pytest.mark.parametrize(("path", "golden"), ALL.items(), ids=[p.stem for p in ALL])


def listed(host: Host, golden: Golden) -> str:
    try:
        return listing(host, golden)
    except KernelRefusedError as error:
        if golden.owned:
            pytest.skip(f"tables with owner and persist cannot be had here: {error}")
        raise


@EACH
def test_the_listing_is_the_golden_one(
    hosts: tuple[Host, Host], path: Path, golden: Golden
) -> None:
    """Compared by meaning: nftables 1.0 and 1.1 spell some things differently."""
    assert parse_table(listed(hosts[0], golden)) == parse_table(path.read_text())


@EACH
def test_the_kernel_holds_what_was_rendered(
    hosts: tuple[Host, Host], path: Path, golden: Golden
) -> None:
    assert parse_table(listed(hosts[0], golden)) == parse_table(golden.text)
