"""Which containers a scope is to cover, from what Docker tells of containers and networks.

Pure; ``ramnet.daemon.cover_watch`` asks Docker and tells the kernel's side what came out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final

from ramnet.caveats.containers import is_builder
from ramnet.caveats.facts import Container

_KIND: Final = "io.x-k8s.kind.cluster"
_HOST, _NONE, _SHARED, _DEFAULT = "host", ("none", "null"), "container:", ("default", "bridge")
_BRIDGE: Final = re.compile(r"[!#-)+\--:<-\[\]-z|~]{1,15}")
"""Interface names that can be put between the quotes of nft's language, and read again."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A container and where it is, or will be, attached.

    Attributes:
        mode: HostConfig.NetworkMode, such as ``bridge``, ``host`` or ``container:ID``.
        networks: names of its networks.
    """

    container: Container
    mode: str
    networks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Network:
    """One network of Docker's.

    Attributes:
        bridge: the interface of a network of driver ``bridge``, else None.
        endpoints: addresses by container id, without prefix lengths.
    """

    name: str
    driver: str
    bridge: str | None
    endpoints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    identity: str = ""


@dataclass(frozen=True, slots=True)
class CoverPlan:
    """What came out.

    Attributes:
        watched: bridges on which all but ``others`` is covered.
        others: addresses of containers there that are not.
        names: of covered containers, by address.
        chosen: every container that is meant, id -> name.
        beside: those of them that cannot be covered, id -> why.
    """

    watched: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)


def is_meant(words: Iterable[str], container: Container) -> bool:
    """Whether one of the words of ``[[scope]] containers`` means this container."""
    return any(_means(word, container) for word in words)


def _means(word: str, container: Container) -> bool:
    kind, _, rest = word.partition(":")
    labels = dict(container.labels)
    if kind == "label":
        key, sign, value = rest.partition("=")
        return key in labels and (not sign or labels[key] == value)
    if kind == "name":
        return fnmatchcase(container.name, rest)
    return (word == "buildx" and is_builder(container)) or (word == "kind" and _KIND in labels)


def bridges_of(words: Iterable[str]) -> frozenset[str]:
    """The bridges that are covered as they are."""
    return frozenset(w.removeprefix("bridge:") for w in words if w.startswith("bridge:"))


def plan_cover(
    words: Sequence[str],
    attached: Sequence[Attached],
    networks: Sequence[Network],
    *,
    known: Iterable[str] = (),
    whole_namespace: bool = True,
    outward: Mapping[str, str] = MappingProxyType({}),
) -> CoverPlan:
    """Find who is covered.

    Args:
        known: ids of containers that were meant before: a new name makes nobody free.
        whole_namespace: whether host-network containers are in the scope already.
        outward: bridges that lead out of this machine, with the way: what is on one reaches the
            far side without passing any rule.
    """
    before = frozenset(known)
    chosen = {
        one.container.identity: one
        for one in attached
        if one.container.identity in before or is_meant(words, one.container)
    }
    owners = {one.container.name: one for one in attached}
    owners |= {one.container.identity: one for one in attached}
    sharing, watched, beside = set[str](), set[str](), dict[str, str]()
    for identity, meant in chosen.items():
        for one in _with_owners(meant, owners):
            sharing.add(one.container.identity)
            for network in _networks_of(one, networks):
                bridge = network.bridge or ""
                if is_coverable(bridge):
                    watched.add(bridge)
                    if bridge in outward:
                        beside[identity] = leads_out(bridge, outward[bridge])
                elif reason := _beside(network, whole_namespace=whole_namespace):
                    beside[identity] = reason
    ends = list(_ends(networks, watched))
    names = {a: owners[i].container.name for i, a in ends if i in sharing}
    # Whoever Docker did not list yet when it told of containers is nobody's other.
    others = frozenset(a for i, a in ends if i in owners and i not in sharing)
    return CoverPlan(
        watched=frozenset(watched),
        others=others - names.keys(),
        names=names,
        chosen={identity: one.container.name for identity, one in chosen.items()},
        beside=beside,
    )


def join_plans(plans: Iterable[CoverPlan]) -> CoverPlan:
    """Those of several dockerds as one: whom any of them covers is nobody's other."""
    plans = list(plans)
    names = {address: name for plan in plans for address, name in plan.names.items()}
    return CoverPlan(
        watched=frozenset[str]().union(*(plan.watched for plan in plans)),
        others=frozenset[str]().union(*(plan.others for plan in plans)) - names.keys(),
        names=names,
        chosen={identity: name for plan in plans for identity, name in plan.chosen.items()},
        beside={identity: why for plan in plans for identity, why in plan.beside.items()},
    )


def is_coverable(bridge: str | None) -> bool:
    """Whether there is a bridge, of a name that the kernel's rules can have."""
    return bridge is not None and _BRIDGE.fullmatch(bridge) is not None


def leads_out(bridge: str, way: str) -> str:
    """Why nothing on such a bridge is covered; br_netfilter, where it is on, may be put off."""
    return f"bridge {bridge} leads out of this machine by {way}; what it switches needs no rule"


def _with_owners(one: Attached, owners: Mapping[str, Attached]) -> list[Attached]:
    """Containers in the network namespace of another's are one with it: all of them are meant."""
    found = [one]
    while one.mode.startswith(_SHARED):
        owner = owners.get(one.mode.removeprefix(_SHARED))
        if owner is None or owner in found:
            break
        found.append(one := owner)
    return found


def _networks_of(one: Attached, networks: Iterable[Network]) -> Iterator[Network]:
    """By its settings, before it is started, and by what is attached now."""
    names = set(one.networks)
    if not one.mode.startswith(_SHARED):
        names.add("bridge" if one.mode in _DEFAULT else one.mode)
    for name in names:
        named = [n for n in networks if name in (n.name, n.identity)]
        named = named or [n for n in networks if n.identity.startswith(name)]
        yield from named or [Network(name, name if name in (_HOST, *_NONE) else "unknown", None)]
    yield from (n for n in networks if one.container.identity in n.endpoints)


def _beside(network: Network, *, whole_namespace: bool) -> str | None:
    if network.driver in _NONE or (network.driver == _HOST and whole_namespace):
        return None  # nothing leaves, or it leaves as the scope's own
    if network.driver == _HOST:
        return "--network host, and the scope is one cgroup"
    if network.bridge is not None:
        return f"network {network.name}: no rule can name the bridge {network.bridge}"
    return f"network {network.name} (driver {network.driver}) does not pass by a bridge"


def _ends(networks: Iterable[Network], watched: set[str]) -> Iterator[tuple[str, str]]:
    for network in networks:
        if network.bridge in watched:
            for identity, addresses in network.endpoints.items():
                yield from ((identity, address) for address in addresses)
