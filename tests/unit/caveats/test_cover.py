"""Who is covered, from what Docker tells."""

from __future__ import annotations

import msgspec
import pytest

from ramnet.caveats.cover import Attached, CoverPlan, Network, is_meant, plan_cover
from ramnet.caveats.facts import Container
from ramnet.config import Scope

BUILDER = Container(name="buildx_buildkit_x0", image="moby/buildkit", identity="b")
PLAIN = Container(name="plain", image="alpine", identity="p", labels=(("k", "v"),))
BRIDGE = Network("bridge", "bridge", "docker0", {"b": ("172.17.0.2",), "p": ("172.17.0.3",)})


def plan(*attached: Attached, known: tuple[str, ...] = (), whole: bool = True) -> CoverPlan:
    networks = [BRIDGE, Network("mac", "macvlan", None)]
    return plan_cover(["buildx"], attached, networks, known=known, whole_namespace=whole)


def test_all_on_its_bridge_but_others() -> None:
    found = plan(Attached(BUILDER, "default"), Attached(PLAIN, "default"))
    assert found.watched == {"docker0"}
    assert found.others == {"172.17.0.3"}
    assert found.names == {"172.17.0.2": "buildx_buildkit_x0"}


def test_who_came_while_docker_was_asked_is_no_other() -> None:
    """Containers are listed first: one that is in a network and not in the list may be meant."""
    ends = {"b": ("172.17.0.2",), "f" * 64: ("172.17.0.4",), "ingress-sbox": ("172.17.0.5",)}
    network = Network("bridge", "bridge", "docker0", ends)
    found = plan_cover(["buildx"], [Attached(BUILDER, "default")], [network])
    assert found.others == {"172.17.0.5"}


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
