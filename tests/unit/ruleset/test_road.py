"""The way of a connection, told from planned rules and from the kernel's own listings."""

from dataclasses import replace
from pathlib import Path

import pytest

from ramnet.ruleset import Members, Situation, render_table
from ramnet.ruleset.grammar import GrammarError
from ramnet.ruleset.road import roads
from tests.unit.ruleset.rows import PROXY, RESOLVER, USUAL

GOLDEN = Path(__file__).parent / "golden"
DECIDES = "which decides by name"


def fates(text: str, port: int | None = None) -> list[str]:
    """IPv4's; IPv6 must fare the same."""
    steps = list(roads(text, port))
    assert [s.fate for s in steps[::2]] == [s.fate for s in steps[1::2]]
    assert {step.family for step in steps[::2]} == {"IPv4"}
    return [step.fate for step in steps[::2]]


@pytest.mark.parametrize(
    "situation",
    [
        USUAL,
        replace(USUAL, members=Members("ramnet_a", cgroup="unified/ramnet.slice")),
        replace(USUAL, members=Members("ramnet_a", class_id=0x52410001)),
    ],
    ids=["namespace", "cgroup2", "net_cls"],
)
@pytest.mark.parametrize("port", [None, 443, 5000])
def test_everything_goes_to_the_gate_or_nowhere(situation: Situation, port: int | None) -> None:
    assert fates(render_table(situation), port) == [
        f"goes to the gate (port {RESOLVER}), {DECIDES}",
        f"goes to the gate (port {PROXY}), {DECIDES}",
        "refused by ICMP port-unreachable",
    ]


def test_dns_over_tls_is_no_way() -> None:
    assert fates(render_table(USUAL), 853)[1] == "refused by a reset"


def test_each_step_names_the_rules_that_it_met() -> None:
    _, _, tcp, *_ = roads(render_table(USUAL), 443)
    assert tcp.packet == "TCP to port 443"
    assert tcp.rules[0] == f"meta l4proto tcp redirect to :{PROXY}"


@pytest.mark.parametrize(
    ("listing", "fate"),
    [
        ("redirect", "goes to the gate"),
        ("redirect-owned", "goes to the gate"),
        ("members-cgroup2", "goes to the gate"),
        ("members-net_cls", "goes to the gate"),
        ("hold", "refused by a reset"),
    ],
)
def test_of_what_the_kernel_lists(listing: str, fate: str) -> None:
    assert fates((GOLDEN / f"{listing}.nft").read_text())[1].startswith(fate)


def test_tier_anyip_is_told_as_not_traced() -> None:
    with pytest.raises(GrammarError, match="only tier redirect can be traced"):
        list(roads((GOLDEN / "anyip.nft").read_text(), None))
