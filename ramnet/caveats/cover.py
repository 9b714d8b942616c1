"""Which containers a scope is to cover, from what Docker tells of containers and networks.

Pure; ``ramnet.daemon.cover_watch`` asks Docker and tells the kernel's side what came out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from ramnet.caveats.containers import is_builder
from ramnet.caveats.facts import Container

_CONTAINER: Final = re.compile(r"[0-9a-f]{64}")
"""A container's id; a network has other ends too (Swarm's ``gateway_ingress-sbox``)."""
_KIND: Final = "io.x-k8s.kind.cluster"
_HOST, _NONE, _SHARED, _DEFAULT = "host", "none", "container:", ("default", "bridge")


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
) -> CoverPlan:
    """Find who is covered.

    Args:
        known: ids of containers that were meant before: a new name makes nobody free.
        whole_namespace: whether host-network containers are in the scope already.
    """
    before = frozenset(known)
    chosen = {
        one.container.identity: one
        for one in attached
        if one.container.identity in before or is_meant(words, one.container)
    }
    sharing = _with_shared(chosen, attached)
    by_name = {network.name: network for network in networks}
    watched, beside = set[str](), dict[str, str]()
    for identity, one in sharing.items():
        for network in _networks_of(one, by_name, networks):
            if network.bridge is not None:
                watched.add(network.bridge)
            elif reason := _beside(network, whole_namespace=whole_namespace):
                beside[identity] = reason
    ends = list(_ends(networks, watched))
    # Docker is asked for containers first: one that came to its network meanwhile may be meant.
    told = {one.container.identity for one in attached}
    unknown = {i for i, _ in ends if _CONTAINER.fullmatch(i)} - told
    return CoverPlan(
        watched=frozenset(watched),
        others=frozenset(a for i, a in ends if i not in sharing and i not in unknown),
        names={a: sharing[i].container.name for i, a in ends if i in sharing},
        chosen={identity: one.container.name for identity, one in chosen.items()},
        beside={i: why for i, why in beside.items() if i in chosen},
    )


def _with_shared(
    chosen: Mapping[str, Attached], attached: Iterable[Attached]
) -> dict[str, Attached]:
    """Containers in the network namespace of another's are one with it: all of them are meant."""
    owners = {one.container.identity: one for one in attached}
    for name, one in [(o.container.name, o) for o in attached]:
        owners.setdefault(name, one)
    found = dict(chosen)
    for one in chosen.values():
        owner = owners.get(one.mode.removeprefix(_SHARED))
        if one.mode.startswith(_SHARED) and owner is not None:
            found[owner.container.identity] = owner
    return found


def _networks_of(
    one: Attached, by_name: Mapping[str, Network], networks: Iterable[Network]
) -> Iterator[Network]:
    """By its settings, before it is started, and by what is attached now."""
    names = set(one.networks)
    if not one.mode.startswith(_SHARED):
        names.add("bridge" if one.mode in _DEFAULT else one.mode)
    for name in names:
        yield by_name.get(name, Network(name, name if name in (_HOST, _NONE) else "unknown", None))
    yield from (n for n in networks if one.container.identity in n.endpoints)


def _beside(network: Network, *, whole_namespace: bool) -> str | None:
    if network.driver == _NONE or (network.driver == _HOST and whole_namespace):
        return None  # nothing leaves, or it leaves as the scope's own
    if network.driver == _HOST:
        return "--network host, and the scope is one cgroup"
    return f"network {network.name} (driver {network.driver}) does not pass by a bridge"


def _ends(networks: Iterable[Network], watched: set[str]) -> Iterator[tuple[str, str]]:
    for network in networks:
        if network.bridge in watched:
            for identity, addresses in network.endpoints.items():
                yield from ((identity, address) for address in addresses)
