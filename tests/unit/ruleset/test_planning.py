"""Tiers, sets and exemptions."""

from dataclasses import fields, replace

import pytest

from ramnet.errors import KernelRefusedError
from ramnet.ruleset import (
    Capabilities,
    Exemption,
    KernelState,
    Ports,
    Situation,
    Tier,
    choose_tier,
    notes,
    plan_state,
    render_table,
)
from ramnet.ruleset.redirect import render_changes, render_elements

_REDIRECT = {"sets", "ct", "nat_redirect", "reject", "counter", "ct_mark"}
_BOTH = {"skuid"}
_ANYIP = {"policy_routing4", "transparent", "gate_namespace"}
_OPTIONAL = {field.name for field in fields(Capabilities)} - _REDIRECT - _BOTH


def test_a_whole_kernel_redirects() -> None:
    tier, reason = choose_tier(Capabilities())
    assert tier is Tier.REDIRECT
    assert reason


@pytest.mark.parametrize("name", sorted(_REDIRECT))
def test_without_a_part_of_redirect_packets_are_routed(name: str) -> None:
    tier, reason = choose_tier(Capabilities(**{name: False}))
    assert tier is Tier.ANYIP
    assert name in reason


@pytest.mark.parametrize("name", sorted(_BOTH))
def test_what_every_tier_needs_is_named(name: str) -> None:
    with pytest.raises(KernelRefusedError, match=rf"lacks {name}; .* lacks {name}"):
        choose_tier(Capabilities(**{name: False}))


@pytest.mark.parametrize("name", sorted(_ANYIP))
def test_without_any_tier_the_parts_of_both_are_named(name: str) -> None:
    with pytest.raises(KernelRefusedError, match=rf"lacks nat_redirect; .* lacks {name}"):
        choose_tier(Capabilities(**{name: False, "nat_redirect": False}))


def test_one_kind_of_route_chain_is_enough() -> None:
    for name in ("route_chain", "route_chain_ip"):
        lacking = Capabilities(**{name: False, "nat_redirect": False})
        assert choose_tier(lacking)[0] is Tier.ANYIP
    with pytest.raises(KernelRefusedError, match="lacks route_chain"):
        choose_tier(Capabilities(route_chain=False, route_chain_ip=False, nat_redirect=False))


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
        (Exemption(uid=7, proto="udp", port=123), "meta skuid 7 udp dport 123 goto owned"),
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


ANYIP = Situation(ports=Ports(927, 928), capabilities=Capabilities(nat_redirect=False))


def test_redirect_needs_nothing_but_its_table() -> None:
    state = plan_state(Situation(ports=Ports(927, 928)))
    assert state == KernelState((("inet", "ramnet"),), state.text)
    assert state.render() == state.text


def test_anyip_says_all_that_it_would_do() -> None:
    lines = plan_state(ANYIP).render().splitlines()
    for family in (4, 6):
        assert f"# ip -{family} rule add fwmark 0x52414d47 lookup 60927 priority 92" in lines
        assert f"# ip -{family} route add unreachable default table 60927 metric 1000" in lines
    assert "# sysctl net.ipv4.tcp_fwmark_accept=1" in lines
    assert "# tcp [::]:443 (transparent), in the gate's own namespace" in lines


def test_without_ipv6_policy_routing_no_ipv6_is_marked() -> None:
    lacking = replace(ANYIP, capabilities=replace(ANYIP.capabilities, policy_routing6=False))
    state = plan_state(lacking)
    assert {route.family for route in state.routes} == {4}
    assert {listener.family for listener in state.listeners} == {4}
    marking = [line for line in state.text.splitlines() if "dport 53 " in line]
    assert marking
    assert all("nfproto ipv4" in line for line in marking)


@pytest.mark.parametrize(
    ("lacks", "word"),
    [
        ("sets", "{ "),
        ("ct", " ct "),
        ("ct_mark", " ct "),
        ("reject", "reject"),
        ("counter", "counter"),
    ],
)
def test_anyip_does_without(lacks: str, word: str) -> None:
    whole = replace(ANYIP, listening=frozenset({22, 80}))
    lacking = replace(whole, capabilities=replace(ANYIP.capabilities, **{lacks: False}))
    rules = [line.strip() for line in plan_state(lacking).text.splitlines() if line[-1:] != "{"]
    assert word in plan_state(whole).text
    assert not [rule for rule in rules if word in rule]


def test_what_sysctls_were_is_read_from_the_table() -> None:
    before = (("net.ipv4.tcp_fwmark_accept", 0), ("net.ipv6.fwmark_reflect", 1))
    assert notes.sysctls_before(render_table(replace(ANYIP, sysctls_before=before))) == before
    assert notes.sysctls_before(render_table(Situation(ports=Ports(927, 928)))) == ()
