"""Who is covered, from what Docker tells."""

from __future__ import annotations

import msgspec
import pytest

from ramnet.caveats.cover import Attached, CoverPlan, Network, is_meant, join_plans, plan_cover
from ramnet.caveats.facts import Container
from ramnet.config import Scope

BUILDER = Container(name="buildx_buildkit_x0", image="moby/buildkit", identity="b")
PLAIN = Container(name="plain", image="alpine", identity="p", labels=(("k", "v"),))
BRIDGE = Network("bridge", "bridge", "docker0", {"b": ("172.17.0.2",), "p": ("172.17.0.3",)})


def plan(*attached: Attached, known: tuple[str, ...] = (), whole: bool = True) -> CoverPlan:
    networks = [BRIDGE, Network("mac", "macvlan", None), Network("none", "null", None)]
    return plan_cover(["buildx"], attached, networks, known=known, whole_namespace=whole)


def test_all_on_its_bridge_but_others() -> None:
    found = plan(Attached(BUILDER, "default"), Attached(PLAIN, "default"))
    assert found.watched == {"docker0"}
    assert found.others == {"172.17.0.3"}
    assert found.names == {"172.17.0.2": "buildx_buildkit_x0"}


def test_a_bridge_that_leads_out_is_told_and_watched_all_the_same() -> None:
    out = {"docker0": "its port eth0", "other0": "a default route"}
    attached = [Attached(BUILDER, "default"), Attached(PLAIN, "default")]
    found = plan_cover(["buildx"], attached, [BRIDGE], outward=out)
    assert found.beside["b"].startswith("bridge docker0 leads out of this machine by its port eth0")
    assert found.watched == {"docker0"}


def test_several_dockerds_are_one() -> None:
    """Whoever is covered by one of them is nobody's other, whatever the rest of them says."""
    one = CoverPlan(frozenset({"a"}), frozenset({"1", "2"}), {"3": "x"}, {"i": "x"})
    two = CoverPlan(frozenset({"b"}), frozenset({"3", "4"}), {"2": "y"}, {"j": "y"}, {"j": "why"})
    assert join_plans([one, two]) == CoverPlan(
        frozenset({"a", "b"}),
        frozenset({"1", "4"}),
        {"2": "y", "3": "x"},
        {"i": "x", "j": "y"},
        {"j": "why"},
    )
    assert join_plans([]) == CoverPlan()


def test_its_bridge_is_watched_before_it_starts() -> None:
    created = Container(name="buildx_buildkit_y0", image="moby/buildkit", identity="new")
    assert plan(Attached(created, "default")).watched == {"docker0"}


def test_without_a_covered_container_nothing_is_watched() -> None:
    assert plan(Attached(PLAIN, "default")) == CoverPlan()


def test_who_was_covered_stays_so() -> None:
    assert plan(Attached(PLAIN, "default"), known=("p",)).chosen == {"p": "plain"}


def test_whose_network_it_shares() -> None:
    other = Container(name="buildx_buildkit_z0", image="moby/buildkit", identity="z")
    found = plan(Attached(other, "container:p"), Attached(PLAIN, "default"))
    assert "172.17.0.3" in found.names
    assert "172.17.0.3" not in found.others


def test_whose_network_that_one_shares_in_turn() -> None:
    middle = Container(name="middle", image="alpine", identity="m")
    found = plan(
        Attached(BUILDER, "container:m"), Attached(middle, "container:p"), Attached(PLAIN, "mac")
    )
    assert found.names["172.17.0.3"] == "plain"
    assert "macvlan" in found.beside["b"], "where the last of them is, the first one is"


def test_who_came_while_docker_was_asked_is_nobodys_other() -> None:
    """Between the list of containers and the network's endpoints."""
    assert plan(Attached(BUILDER, "default")).others == set()


@pytest.mark.parametrize("mode", ["0123456789abcdef", "01234567", "two"])
def test_a_network_by_its_id(mode: str) -> None:
    two = Network("two", "bridge", "br-two", identity="0123456789abcdef")
    found = plan_cover(["buildx"], [Attached(BUILDER, mode)], [two])
    assert found.watched == {"br-two"}
    assert not found.beside


def test_a_name_goes_before_the_beginning_of_an_id() -> None:
    networks = [Network("0", "bridge", "br-0"), Network("other", "bridge", "br-x", identity="012")]
    assert plan_cover(["buildx"], [Attached(BUILDER, "0")], networks).watched == {"br-0"}


@pytest.mark.parametrize(("bridge", "fits"), [
    ("br-0123456789ab", True), ("b@d", True), ("b#1", True), ("br:x", True),
    ('b"q', False), ("br*", False), ("b,c", False), ("b;c", False), ("b}c", False), ("bé", False),
])  # fmt: skip
def test_bridges_of_odd_names(bridge: str, fits: bool) -> None:
    """Docker makes them; one that no rule can name is told, not taken for covered."""
    networks = [Network("odd", "bridge", bridge, {"b": ("172.18.0.2",)})]
    found = plan_cover(["buildx"], [Attached(BUILDER, "odd")], networks)
    assert (found.watched == {bridge}, "b" in found.beside) == (fits, not fits)


@pytest.mark.parametrize(("mode", "whole", "beside"), [
    ("mac", True, True), ("host", True, False), ("host", False, True), ("none", True, False),
])  # fmt: skip
def test_what_no_bridge_sees_is_said(mode: str, whole: bool, beside: bool) -> None:
    assert bool(plan(Attached(BUILDER, mode), whole=whole).beside) is beside


@pytest.mark.parametrize(("word", "meant"), [
    ("label:k", True), ("label:k=v", True), ("label:k=w", False), ("name:pl*", True),
    ("name:b*", False), ("buildx", False), ("kind", False), ("bridge:plain", False),
])  # fmt: skip
def test_words(word: str, meant: bool) -> None:
    assert is_meant([word], PLAIN) is meant


@pytest.mark.parametrize(
    "word", ["builds", "label:", "name:a b", 'bridge:a"b', "bridge:" + "x" * 16]
)
def test_words_that_are_none(word: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="is none of"):
        msgspec.convert({"name": "a", "containers": [word]}, Scope)
