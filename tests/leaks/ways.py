"""The tiers and scopings that every case is walked in."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.lab.service import CONFIG, PROGRAM

#: How a program gets into a scope that is a cgroup.
EXEC: Final = (PROGRAM, "exec", "--config", CONFIG, "--scope", "dockerd", "--")


class Way(NamedTuple):
    """How the service enforces.

    Attributes:
        tier: what `ramnet status` must call it.
        without: capabilities taken away (RAMNET_WITHOUT), so that the kernel seems to lack them.
        scope: further keys of the scope's table in ramnet.toml.
        enter: a command prefix that puts a program into the scope.
    """

    name: str
    tier: str
    without: str = ""
    scope: str = ""
    enter: tuple[str, ...] = ()


WAYS = (
    Way("redirect", tier="redirect"),
    Way("anyip", tier="anyip", without="nat_redirect"),
    Way("cgroup2", tier="redirect", scope='cgroup = "ramnet-leaks"', enter=EXEC),
)  # fmt: skip
