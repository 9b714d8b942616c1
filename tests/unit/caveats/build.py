"""Facts of a machine on which nothing is found, to change one part of."""

from dataclasses import replace
from typing import Any

from ramnet.caveats import CAVEATS, Facts, Finding
from ramnet.caveats.facts import (
    Docker,
    DockerDaemon,
    Homes,
    PolicyFacts,
    Registries,
    ScopeFacts,
    SocketAccess,
)
from ramnet.config import Config, Scope

HERE = 4026531840
CONFIG = Config(policy="/etc/ramnet/policy.toml", scopes=[Scope(name="dockerd")])
SCOPE = ScopeFacts(name="dockerd", cgroup=None, netns=HERE, means="namespace", tier="redirect")
DOCKER = Docker(
    daemon=DockerDaemon(7, "20.10.24", names_dns=False),
    netns=HERE,
    registries=Registries(),
    containers=(),
    access=SocketAccess("/run/docker.sock", "docker", (), anybody=False),
    redirections=(),
)
NOTHING = Facts(
    config=CONFIG,
    kernel_release="6.1.0-amd64",
    scopes=(SCOPE,),
    dockers=(DOCKER,),
    processes=(),
    homes=Homes(),
    policy=PolicyFacts("/etc/ramnet/policy.toml", enabled=True, entries=0, broad=(), allowed=()),
    signed=None,
)


def look(code: str, facts: Facts = NOTHING, **parts: Any) -> Finding:
    """What one caveat finds, with parts of the facts put in the place of others."""
    (caveat,) = [each for each in CAVEATS if each.code == code]
    return caveat.look(replace(facts, **parts))


def docker(**parts: Any) -> tuple[Docker, ...]:
    """One dockerd with these parts."""
    return (replace(DOCKER, **parts),)


def scope(**parts: Any) -> tuple[ScopeFacts, ...]:
    """One scope with these parts."""
    return (replace(SCOPE, **parts),)
