"""Caveats found in how dockerd itself is configured: what changes the meaning of a name."""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

from ramnet.caveats.caveat import Finding, found
from ramnet.caveats.containers import each_docker, no_dockers
from ramnet.caveats.embedded_dns import shared_dns
from ramnet.caveats.facts import DockerProxy, Facts, Redirection, Registries, Unseen
from ramnet.caveats.proxies import unknown_proxies

_HUB: Final = frozenset({"docker.io", "registry-1.docker.io", "index.docker.io"})


def embedded_dns(facts: Facts) -> Finding:
    """dockerd asks for its containers' names itself."""
    unseen = no_dockers(facts)
    daemons = [docker.daemon for docker in each_docker(facts)]
    unseen += [
        f"dockerd (pid {daemon.pid}) did not tell its version"
        for daemon in daemons
        if daemon.version is None and not daemon.names_dns
    ]
    return found(shared_dns(daemons, facts.config.resolver), unseen)


def insecure(facts: Facts) -> Finding:
    """Registries that dockerd reaches without TLS, or without knowing whom it reached."""
    return _of_registries(facts, lambda each: each.insecure)


def mirrors(facts: Facts) -> Finding:
    """Servers that answer in Docker Hub's place."""
    return _of_registries(
        facts, lambda each: (f"{url} is asked for Docker Hub's images" for url in each.mirrors)
    )


def no_proxy(facts: Facts) -> Finding:
    """Hosts that dockerd dials past a proxy."""
    return _of_registries(facts, lambda each: [each.no_proxy] if each.no_proxy else [])


def proxies(facts: Facts) -> Finding:
    """Proxies of dockerd's that ramnet.toml does not name."""
    seen, unseen = [], no_dockers(facts)
    for docker in each_docker(facts):
        if isinstance(docker.registries, Unseen):
            unseen.append(docker.registries.reason)
            continue
        where = f"dockerd (pid {docker.daemon.pid})"
        named = [DockerProxy(where, url) for url in docker.registries.proxies]
        seen += unknown_proxies(named, facts.config.proxy)
    return found(seen, unseen)


def redirections(facts: Facts) -> Finding:
    """``hosts.toml`` files that send a registry's name to another server."""
    seen, unseen = [], no_dockers(facts)
    for docker in each_docker(facts):
        if isinstance(docker.redirections, Unseen):
            unseen.append(docker.redirections.reason)
            continue
        for each in docker.redirections:
            if isinstance(each.servers, Unseen):
                unseen.append(f"{each.path}: {each.servers.reason}")
            elif others := _others(each, each.servers):
                seen.append(f"{each.path} sends {each.host} to {', '.join(others)}")
    return found(seen, unseen)


def _others(each: Redirection, servers: Iterable[str]) -> list[str]:
    own = _HUB if each.host == "docker.io" else {each.host.lower(), f"{each.host.lower()}:443"}
    return [server for server in servers if _authority(server) not in own]


def _authority(url: str) -> str:
    try:
        return urlsplit(url if "://" in url else f"https://{url}").netloc.lower()
    except ValueError:
        return ""


def _of_registries(facts: Facts, pick: Callable[[Registries], Iterable[str]]) -> Finding:
    seen, unseen = [], no_dockers(facts)
    for docker in each_docker(facts):
        if isinstance(docker.registries, Unseen):
            unseen.append(docker.registries.reason)
        else:
            seen += [f"dockerd (pid {docker.daemon.pid}): {w}" for w in pick(docker.registries)]
    return found(seen, unseen)


def on_loopback(network: str) -> bool:
    """Whether an insecure network is one of those that every dockerd has."""
    try:
        return ipaddress.ip_network(network).is_loopback
    except ValueError:
        return False
