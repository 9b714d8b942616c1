"""Caveats found in the kernel, in what runs beside dockerd, and in the homes of users."""

import ipaddress
from collections.abc import Iterable
from typing import Final

from ramnet.caveats import containers
from ramnet.caveats.caveat import Finding, found
from ramnet.caveats.facts import Facts, Listener, Process, ScopeFacts, Unseen

NET_RAW: Final = "NET_RAW"
NET_ADMIN: Final = "NET_ADMIN"

_ENGINES: Final = frozenset(
    {"podman", "conmon", "containerd", "nerdctl", "buildkitd", "crio", "dockerd", "rootlesskit"}
)
_KUBERNETES: Final = frozenset(
    {"kubelet", "k3s", "k3s-server", "k3s-agent", "rke2", "k0s", "kubelite", "kube-apiserver"}
)
_FORWARDERS: Final = frozenset(
    {
        "docker-registry",
        "registry",
        "squid",
        "socat",
        "haproxy",
        "nginx",
        "envoy",
        "ssh",
        "tinyproxy",
        "mitmdump",
        "mitmproxy",
        "caddy",
        "traefik",
    }
)
"""Programs known for fetching or forwarding what they are asked for; comm is 15 bytes at most."""
_SHOWN_PIDS: Final = 5
_DOCKERS_OWN: Final = frozenset({"dockerd", "docker-proxy"})


def capabilities(facts: Facts) -> Finding:
    """What this kernel lacks."""
    seen, unseen = [], []
    for scope in facts.scopes:
        if isinstance(scope.missing, Unseen):
            unseen.append(f"scope {scope.name}: {scope.missing.reason}")
        elif scope.missing:
            seen.append(f"scope {scope.name}, tier {scope.tier}: {', '.join(scope.missing)}")
    return found(seen, unseen)


def whole_namespace(facts: Facts) -> Finding:
    """Everything in a namespace is restricted where one of its cgroups, or WSL's one, was meant."""
    seen, unseen = [], []
    wsl = "microsoft" in facts.kernel_release.lower()
    for scope in facts.scopes:
        if isinstance(scope.means, Unseen):
            unseen.append(f"scope {scope.name}: {scope.means.reason}")
        elif scope.means == "namespace" and (scope.cgroup is not None or wsl):
            seen.append(f"scope {scope.name}: {scope.reason}")
    return found(seen, unseen)


def raw_sockets(facts: Facts) -> Finding:
    """Who can send past every nftables hook, and who does so now."""
    seen, unseen = _holders(facts, NET_RAW)
    for scope in facts.scopes:
        if isinstance(scope.sockets, Unseen):
            unseen.append(f"scope {scope.name}: {scope.sockets.reason}")
            continue
        owners = [str(p) if p else "an owner that was not found" for p in scope.sockets.packet]
        seen[:0] = [f"scope {scope.name}: AF_PACKET socket of {owner}" for owner in owners]
    return found(seen, unseen)


def forgery(facts: Facts) -> Finding:
    """Who can change rules, routes and marks."""
    return found(*_holders(facts, NET_ADMIN))


def _holders(facts: Facts, capability: str) -> tuple[list[str], list[str]]:
    """Processes of the scopes' namespaces with a capability; what runs as a user comes first."""
    if isinstance(facts.processes, Unseen):
        return [], [facts.processes.reason]
    seen, unseen = [], []
    for scope in facts.scopes:
        if isinstance(scope.netns, Unseen):
            unseen.append(f"scope {scope.name}: {scope.netns.reason}")
            continue
        inside = [p for p in facts.processes if p.netns == scope.netns]
        holders = _grouped(p for p in inside if capability in p.capabilities)
        seen += [f"scope {scope.name}: {holder} has CAP_{capability}" for holder in holders]
    return seen, unseen


def _grouped(processes: Iterable[Process]) -> list[str]:
    """Those of one name and user together, root's last: they are no news."""
    groups: dict[tuple[bool, str, int], list[int]] = {}
    for process in processes:
        key = (process.uid == 0, process.name, process.uid)
        groups.setdefault(key, []).append(process.pid)
    return [f"{name} (uid {uid}, {_pids(pids)})" for (_, name, uid), pids in sorted(groups.items())]


def _pids(pids: list[int]) -> str:
    shown = ", ".join(map(str, pids[:_SHOWN_PIDS]))
    more = f" and {len(pids) - _SHOWN_PIDS} more" if len(pids) > _SHOWN_PIDS else ""
    return f"pid{'' if len(pids) == 1 else 's'} {shown}{more}"


def other_engines(facts: Facts) -> Finding:
    """Engines that are not the scopes' dockerd; in a scope they are restricted like it."""
    if isinstance(facts.processes, Unseen):
        return found([], [facts.processes.reason])
    seen, covered, unseen = [], [], []
    for process in facts.processes:
        if process.name not in _ENGINES or process.child_of_docker:
            continue
        scope = _scope_of(facts.scopes, process)
        if scope is None and (hidden := _unseen_scopes(facts.scopes)):
            unseen += [f"in which scope {process} is: {reason}" for reason in hidden]
        elif scope is None:
            seen.append(f"{process} is in no scope")
        elif process.name != "dockerd" or process.uid != 0:
            covered.append(f"{process} is in scope {scope.name}, and restricted with it")
    return found(seen, unseen, covered=covered)


def _scope_of(scopes: Iterable[ScopeFacts], process: Process) -> ScopeFacts | None:
    for scope in scopes:
        if scope.netns != process.netns:
            continue
        path = f"/{(scope.cgroup or '').strip('/')}"
        if scope.means == "namespace" or f"{process.cgroup}/".startswith(f"{path}/"):
            return scope
    return None


def _unseen_scopes(scopes: Iterable[ScopeFacts]) -> list[str]:
    parts = [part for scope in scopes for part in (scope.netns, scope.means)]
    return [part.reason for part in parts if isinstance(part, Unseen)]


def kubernetes(facts: Facts) -> Finding:
    """A cluster here pulls by a runtime of its own."""
    seen, unseen, inside = containers.cluster_nodes(facts)
    if isinstance(facts.processes, Unseen):
        return found(seen, [*unseen, facts.processes.reason], covered=inside)
    covered = containers.covered_containers(facts)
    for process in facts.processes:
        if process.name in _KUBERNETES:
            scope = next((s for i, s in covered.items() if i and i in process.cgroup), None)
            if scope is None:
                seen.append(str(process))
            else:
                inside.append(f"{process}: in a container covered by scope {scope}")
    return found(seen, unseen, covered=inside)


def buildx_kubernetes(facts: Facts) -> Finding:
    """Builders in a cluster, and the files by which one is reached."""
    homes = facts.homes
    if isinstance(homes, Unseen):
        return found([], [homes.reason])
    seen, unseen = [], list(homes.unread)
    for builder in homes.builders:
        if isinstance(builder.driver, Unseen):
            unseen.append(f"{builder.path}: {builder.driver.reason}")
        elif builder.driver == "kubernetes":
            seen.append(f"{builder.path}: driver kubernetes")
    return found([*seen, *(f"kubeconfig {path}" for path in homes.kubeconfigs)], unseen)


def docker_debug(facts: Facts) -> Finding:
    """The plugin whose toolbox comes by ways of its own."""
    homes = facts.homes
    if isinstance(homes, Unseen):
        return found([], [homes.reason])
    return found((f"plugin {path}" for path in homes.debuggers), homes.unread)


def local_forwarders(facts: Facts) -> Finding:
    """What is near and may fetch for others: known programs count, others are not decided."""
    seen, unseen = containers.caches(facts)
    unseen += containers.undecided(facts)
    for scope in facts.scopes:
        if isinstance(scope.sockets, Unseen):
            unseen.append(f"scope {scope.name}: {scope.sockets.reason}")
            continue
        for listener in scope.sockets.listeners:
            words = f"scope {scope.name}: {_whose(listener)}"
            if listener.process is not None and listener.process.name in _FORWARDERS:
                seen.append(words)
            elif not (listener.process and listener.process.name in _DOCKERS_OWN):
                unseen.append(f"whether it forwards what it is sent: {words}")
    return found(seen, unseen)


def _whose(listener: Listener) -> str:
    address = ipaddress.ip_address(listener.address)
    shown = f"[{address}]" if address.version == 6 else str(address)
    return f"{listener.process or 'an unknown program'} listens on {shown}:{listener.port}"
