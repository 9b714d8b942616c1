"""Every rule says for which promise it is there, and a rule that is gone is missed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ramnet.ruleset import Capabilities, Members, Situation, promises, render_table
from ramnet.ruleset.differences import chains_in, compare, foreign_elements, rules_in, tables_in
from ramnet.ruleset.purposes import PURPOSES, promise_of
from tests.kernel.golden import ALL
from tests.unit.ruleset.rows import BARE, USUAL

_NO_NAT = Capabilities(nat_redirect=False)
_LEAST = Capabilities(
    nat_redirect=False, sets=False, dynamic_sets=False, ct=False, ct_mark=False, reject=False,
    counter=False, policy_routing6=False, route_chain=False,
)  # fmt: skip
SITUATIONS: dict[str, Situation] = {
    "usual": USUAL,
    "bare": BARE,
    "cgroup2": replace(USUAL, members=Members("ramnet_docker", cgroup="docker")),
    "net_cls": replace(USUAL, members=Members("ramnet_docker", class_id=0x52410001)),
    "anyip": replace(USUAL, capabilities=_NO_NAT),
    "anyip, least": replace(USUAL, capabilities=_LEAST),
}
EACH = pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS)


def rules_of(text: str) -> list[tuple[str, str]]:
    """Chain and text of every rule, in order."""
    return [
        (chain, rule)
        for body in tables_in(text).values()
        for chain, lines in chains_in(body).items()
        for rule in rules_in(lines)
    ]


@EACH
def test_every_rule_has_a_promise(situation: Situation) -> None:
    nobodys = [rule for rule in rules_of(render_table(situation)) if promise_of(*rule) is None]
    assert nobodys == []


def test_no_purpose_is_nobodys() -> None:
    rules = [rule for each in SITUATIONS.values() for rule in rules_of(render_table(each))]
    unused = [
        purpose
        for purpose in PURPOSES
        if not any(
            chain in purpose.chains.split() and purpose.rule.fullmatch(rule)
            for chain, rule in rules
        )
    ]
    assert unused == []


def test_every_promise_has_words_and_a_code_of_its_own() -> None:
    assert len({each.code for each in promises.ALL}) == len(promises.ALL)
    assert len({each.text for each in promises.ALL}) == len(promises.ALL)


@EACH
def test_each_rule_is_missed_where_it_is_gone(situation: Situation) -> None:
    text = render_table(situation)
    lines = text.splitlines()
    rules = (line.startswith("\t\t") and " hook " not in line for line in lines)
    numbers = [number for number, is_rule in enumerate(rules) if is_rule]
    assert len(numbers) == len(rules_of(text))
    for number in numbers:
        gone = lines[number].strip()
        standing = tables_in("\n".join(lines[:number] + lines[number + 1 :]))
        found = compare(text, dict(standing))
        assert [(each.what, each.text) for each in found] == [("missing", gone)]
        assert found[0].promise in promises.ALL


@EACH
def test_a_table_that_is_gone_misses_every_rule(situation: Situation) -> None:
    text = render_table(situation)
    found = compare(text, {})
    assert [each.text for each in found] == [rule for _, rule in rules_of(text)]


@pytest.mark.parametrize(("path", "golden"), ALL.items(), ids=[path.stem for path in ALL])
def test_the_kernels_own_listing_is_no_difference(path, golden) -> None:  # type: ignore[no-untyped-def]
    assert compare(golden.text, dict(tables_in(path.read_text()))) == []


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("policy drop;", "policy accept;", "policy accept"),
        ("\tchain leaving {", "\tchain extra {\n\t}\n\tchain leaving {", "chain extra"),
        ("goto redirected\n", "goto redirected\n\t\tip saddr 192.0.2.9 accept\n", "ip saddr"),
        ("goto redirected\n", "goto redirected\n\t\taccept\n", "accept"),
    ],
)
def test_what_another_hand_added_is_foreign(before: str, after: str, text: str) -> None:
    planned = render_table(USUAL)
    changed = planned.replace(before, after)
    assert changed != planned
    found = compare(planned, dict(tables_in(changed)))
    assert [each.what for each in found] == ["foreign"]
    assert text in found[0].text


def test_networks_that_another_hand_added_are_foreign() -> None:
    planned = render_table(USUAL)
    changed = planned.replace("172.17.0.0/16", "172.17.0.0/16, 0.0.0.0/1")
    assert [each.text for each in foreign_elements(planned, changed)] == ["0.0.0.0/1"]
    assert foreign_elements(planned, planned) == []


def test_services_that_came_and_went_are_no_difference() -> None:
    planned = render_table(USUAL)
    other = render_table(replace(USUAL, listening=frozenset({80, 443})))
    assert compare(planned, dict(tables_in(other))) == []
