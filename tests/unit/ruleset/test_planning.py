"""Tiers, sets and exemptions."""

from dataclasses import fields

import pytest

from ramnet.errors import KernelRefusedError
from ramnet.ruleset import (
    Capabilities,
    Exemption,
    Ports,
    Situation,
    Tier,
    choose_tier,
    render_table,
)
from ramnet.ruleset.redirect import render_changes, render_elements

_OPTIONAL = {"dynamic_sets", "socket_cgroupv2", "ipv6", "meta_cgroup", "socket_lookup"}
_NEEDED = {field.name for field in fields(Capabilities)} - _OPTIONAL


def test_a_whole_kernel_redirects() -> None:
    tier, reason = choose_tier(Capabilities())
    assert tier is Tier.REDIRECT
    assert reason


@pytest.mark.parametrize("name", sorted(_NEEDED))
def test_each_needed_part_is_named_where_it_is_missing(name: str) -> None:
    with pytest.raises(KernelRefusedError, match=rf"\b{name}\b"):
        choose_tier(Capabilities(**{name: False}))


def test_all_missing_parts_are_named() -> None:
    with pytest.raises(KernelRefusedError, match="sets, ct"):
        choose_tier(Capabilities(sets=False, ct=False))


@pytest.mark.parametrize("name", sorted(_OPTIONAL))
def test_the_others_are_not_needed(name: str) -> None:
    assert choose_tier(Capabilities(**{name: False}))[0] is Tier.REDIRECT
    assert Capabilities(**{name: False}).missing() == (name,)


def test_without_dynamic_sets_none_is_named() -> None:
    text = render_table(
        Situation(ports=Ports(927, 928), capabilities=Capabilities(dynamic_sets=False))
    )
    assert "published" not in text


def test_elements_are_replaced_in_one_transaction() -> None:
    assert render_elements("listening", ["22", "80"]) == (
        "flush set inet ramnet listening\nadd element inet ramnet listening { 22, 80 }\n"
    )


def test_no_elements_empty_the_set() -> None:
    assert render_elements("listening", []) == "flush set inet ramnet listening\n"


@pytest.mark.parametrize(
    ("exemption", "rule"),
    [
        (Exemption(uid=7), "meta skuid 7 accept"),
        (Exemption(uid=7, proto="udp", port=123), "meta skuid 7 udp dport 123 accept"),
        (Exemption(proto="tcp", port=22), "tcp dport 22 accept"),
        (Exemption(address="10.0.0.0/8"), "ip daddr 10.0.0.0/8 accept"),
        (Exemption(address="fd00::/8", proto="esp"), "ip6 daddr fd00::/8 meta l4proto esp accept"),
        (
            Exemption(cgroup="unified/a/b", cgroup_level=2),
            'socket cgroupv2 level 2 "unified/a/b" accept',
        ),
    ],
)
def test_an_exemption_says_all_its_parts(exemption: Exemption, rule: str) -> None:
    text = render_table(Situation(ports=Ports(927, 928), exemptions=(exemption,)))
    assert f"\t\t{rule}\n" in text


@pytest.mark.parametrize("parts", [{}, {"proto": "udp"}, {"port": 123}, {"uid": 7, "port": 123}])
def test_an_exemption_never_says_more_than_its_words(parts: dict[str, object]) -> None:
    """An empty one would have been rendered as ``accept``: everything may go."""
    with pytest.raises(ValueError, match="exemption"):
        Exemption(**parts)  # type: ignore[arg-type]


def test_the_same_situation_gives_the_same_text() -> None:
    one = Situation(ports=Ports(927, 928), listening=frozenset({22, 5000, 80, 100}))
    other = Situation(ports=Ports(927, 928), listening=frozenset({100, 80, 5000, 22}))
    assert render_table(one) == render_table(other)
    assert "elements = { 22, 80, 100, 5000 }" in render_table(one)


def test_of_many_elements_only_what_changed_is_told() -> None:
    assert render_changes("listening", ["22"], ["80", "81"]) == (
        "delete element inet ramnet listening { 22 }\n"
        "add element inet ramnet listening { 80, 81 }\n"
    )
    assert render_changes("listening", [], []) == ""
