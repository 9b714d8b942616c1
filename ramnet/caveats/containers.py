"""Caveats found in containers and in how Docker's socket is kept."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from ramnet.caveats.caveat import Finding, found
from ramnet.caveats.facts import Container, Docker, Facts, Unseen

_BUILDX_NAME: Final = "buildx_buildkit_"
"""As buildx names its containers (driver docker-container); the builder's name and node follow."""
_BUILDKIT_IMAGE: Final = re.compile(r"(?:.*/)?moby/buildkit(?:[:@][^/]*)?")
"""From whatever registry, by tag or by digest."""
_SOCKETS: Final = ("docker.sock", "containerd.sock", "podman.sock")
_ENGINE_MOUNTS: Final = ("/", "/run", "/var/run", "/run/containerd", "/run/docker", "/proc")
_NODE_LABELS: Final = {
    "io.x-k8s.kind.cluster": "kind",
    "name.minikube.sigs.k8s.io": "minikube",
    "k3d.cluster": "k3d",
    "io.kubernetes.pod.name": "Docker Desktop's or cri-dockerd's Kubernetes",
}
_CACHE_VARIABLE: Final = "REGISTRY_PROXY_REMOTEURL"
"""Makes the distribution registry a pull-through cache."""

_NO_DOCKER: Final = "no dockerd of root's is in view; start it, or ask where it runs"

Describe = Callable[[Container], str | None]
"""What is to be said of a container in words that follow its name, or None."""


def no_dockers(facts: Facts) -> list[str]:
    """Why no dockerd was looked at; empty where one was."""
    if isinstance(facts.dockers, Unseen):
        return [facts.dockers.reason]
    return [] if facts.dockers else [_NO_DOCKER]


def each_docker(facts: Facts) -> tuple[Docker, ...]:
    """Those that were looked at."""
    return () if isinstance(facts.dockers, Unseen) else facts.dockers


def containers_that(facts: Facts, describe: Describe) -> tuple[list[str], list[str]]:
    """What ``describe`` says of every container, and what could not be looked at."""
    seen, unseen = [], no_dockers(facts)
    for docker in each_docker(facts):
        if isinstance(docker.containers, Unseen):
            unseen.append(docker.containers.reason)
            continue
        for container in docker.containers:
            words = describe(container)
            if words is not None:
                seen.append(f"container {_called(container)}: {words}")
    return seen, unseen


def _called(container: Container) -> str:
    return f"{container.name}{'' if container.running else ' (stopped)'}"


def buildx_docker_container(facts: Facts) -> Finding:
    """Builders of the docker-container driver, whose traffic is forwarded and not the scope's."""
    covered = covered_containers(facts)
    builders, unseen = containers_that(facts, lambda c: _uncovered(c, covered, _as_builder))
    inside, _ = containers_that(facts, lambda c: _covered(c, covered, _as_builder))
    return found(builders, unseen, covered=inside)


def covered_containers(facts: Facts) -> dict[str, str]:
    """Containers for which rules stand that send what they do to the gate, id -> scope."""
    return {identity: scope.name for scope in facts.scopes for identity in scope.covers}


def _uncovered(container: Container, covered: dict[str, str], describe: Describe) -> str | None:
    return None if container.identity in covered else describe(container)


def _covered(container: Container, covered: dict[str, str], describe: Describe) -> str | None:
    words = describe(container)
    scope = covered.get(container.identity)
    return f"{words}: covered by scope {scope}" if words and scope else None


def is_builder(container: Container) -> bool:
    """Whether anything says that it is a BuildKit builder."""
    return _as_builder(container) is not None


def _as_builder(container: Container) -> str | None:
    by_name = container.name.startswith(_BUILDX_NAME)
    by_image = _BUILDKIT_IMAGE.fullmatch(container.image) is not None
    by_label = any("buildkit" in key or "buildx" in key for key, _ in container.labels)
    if not (by_name or by_image or by_label):
        return None
    builder = container.name.removeprefix(_BUILDX_NAME) if by_name else "of no name of buildx's"
    return f"BuildKit builder {builder}, image {container.image}"


def host_network(facts: Facts) -> Finding:
    """Containers that share the scope's namespace: restricted like dockerd, and beside it."""
    return found(
        *containers_that(facts, lambda c: _words("network" in c.namespaces, "--network host"))
    )


def privileged(facts: Facts) -> Finding:
    """Containers that can change the rules, or leave their namespaces."""
    return found(*containers_that(facts, _as_privileged))


def _as_privileged(container: Container) -> str | None:
    if container.privileged:
        return "--privileged"
    strong = {"ALL", "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "BPF", "DAC_READ_SEARCH"}
    taken = sorted(strong & set(container.capabilities))
    if "network" in container.namespaces:
        taken += sorted({"NET_ADMIN"} & set(container.capabilities))
    return _words(bool(taken), f"--cap-add {' '.join(taken)}")


def engine_access(facts: Facts) -> Finding:
    """Containers that hold an engine's socket or live in the host's namespaces."""
    return found(*containers_that(facts, _as_intimate))


def _as_intimate(container: Container) -> str | None:
    sockets = [
        source
        for source in container.mounts
        if source.endswith(_SOCKETS) or (source.rstrip("/") or "/") in _ENGINE_MOUNTS
    ]
    spaces = [space for space in container.namespaces if space != "network"]
    words = [f"has {source}" for source in sockets] + [f"--{space} host" for space in spaces]
    return _words(bool(words), ", ".join(words))


def cluster_nodes(facts: Facts) -> tuple[list[str], list[str], list[str]]:
    """Containers that are nodes of a cluster or pods of one: beside every cover, what could not
    be looked at, and those that are covered."""
    covered = covered_containers(facts)
    nodes, unseen = containers_that(facts, lambda c: _uncovered(c, covered, _as_node))
    inside, _ = containers_that(facts, lambda c: _covered(c, covered, _as_node))
    return nodes, unseen, inside


def _as_node(container: Container) -> str | None:
    labels = dict(container.labels)
    kinds = [words for label, words in _NODE_LABELS.items() if label in labels]
    return _words(bool(kinds), f"of {', '.join(kinds)}, image {container.image}")


def passes_by(container: Container) -> str | None:
    """What a container is that fetches images where no scope is; None where nothing says so."""
    words = _as_builder(container) or _as_node(container)
    return words and f"container {container.name}: {words}"


def caches(facts: Facts) -> tuple[list[str], list[str]]:
    """Containers that say themselves that they fetch from another registry."""
    return containers_that(facts, _as_cache)


def _as_cache(container: Container) -> str | None:
    remote = dict(container.variables).get(_CACHE_VARIABLE)
    return _words(bool(remote), f"pull-through cache of {remote}")


def undecided(facts: Facts) -> Iterator[str]:
    """Running containers, since any may forward what it is sent."""
    for docker in each_docker(facts):
        if not isinstance(docker.containers, Unseen):
            running = [c.name for c in docker.containers if c.running]
            if running:
                yield f"whether containers forward what they are sent: {', '.join(running)}"


def fileborn_images(facts: Facts) -> Finding:
    """Images that came by no registry; one that was built here looks the same."""
    seen, unseen = [], no_dockers(facts)
    for docker in each_docker(facts):
        if isinstance(docker.fileborn, Unseen):
            unseen.append(docker.fileborn.reason)
        else:
            seen += [f"image {name} was loaded, imported or built here" for name in docker.fileborn]
    return found(seen, unseen)


def docker_group(facts: Facts) -> Finding:
    """Users who may speak to Docker's socket."""
    seen, unseen = [], no_dockers(facts)
    for docker in each_docker(facts):
        access = docker.access
        if isinstance(access, Unseen):
            unseen.append(access.reason)
            continue
        if access.anybody:
            seen.append(f"{access.path} may be written to by every user")
        if access.members:
            seen.append(f"{access.path}: group {access.group}: {', '.join(access.members)}")
    return found(seen, unseen)


def _words(yes: bool, words: str) -> str | None:
    return words if yes else None
