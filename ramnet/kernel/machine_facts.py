"""What the caveats want to know of this machine, gathered in one go; root sees all of it.

Nothing here asks or disturbs a running service. What only root may see is ``Unseen`` for anybody
else as a whole, and so is what root may not see without CAP_SYS_PTRACE (in a container, in a unit
of few capabilities): half a list of processes would look like a whole one.
"""

import os
import platform
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ramnet.caveats.facts import Docker, Homes, Process, ScopeFacts, Unseen
from ramnet.config import Scope
from ramnet.kernel.accounts import gather_homes
from ramnet.kernel.docker_facts import gather_dockers
from ramnet.kernel.netns import inode_of
from ramnet.kernel.processes import gather_processes, gather_sockets, sees_all

_NEEDS_ROOT: Final = "only root can see {}"
_NEEDS_PTRACE: Final = "only root with CAP_SYS_PTRACE can see {}"


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The parts of ``ramnet.caveats.Facts`` that this room gathers."""

    kernel_release: str
    scopes: tuple[ScopeFacts, ...]
    dockers: tuple[Docker, ...] | Unseen
    processes: tuple[Process, ...] | Unseen
    homes: Homes | Unseen


def gather(
    scopes: Sequence[Scope], known: Sequence[ScopeFacts], own: Collection[int]
) -> MachineFacts:
    """Gather all.

    Args:
        scopes: as ``ramnet.toml`` has them.
        known: the same, as far as the service or a probe told; the rest is filled in.
        own: process ids of ramnet, whose privileges are no news.
    """
    root = os.geteuid() == 0
    own = {*own, os.getpid()}
    processes = _traced(root, "all processes") or gather_processes(own)
    return MachineFacts(
        kernel_release=platform.release(),
        scopes=tuple(
            _completed(scope, facts, processes, own)
            for scope, facts in zip(scopes, known, strict=True)
        ),
        dockers=_traced(root, "every dockerd and its socket") or gather_dockers(),
        processes=processes,
        homes=_seen(root, "the homes of all users") or gather_homes(Path("/")),
    )


def _seen(root: bool, what: str) -> Unseen | None:
    return None if root else Unseen(_NEEDS_ROOT.format(what))


def _traced(root: bool, what: str) -> Unseen | None:
    if root and not sees_all():
        return Unseen(_NEEDS_PTRACE.format(what))
    return _seen(root, what)


def _completed(
    scope: Scope,
    facts: ScopeFacts,
    processes: tuple[Process, ...] | Unseen,
    own: Collection[int],
) -> ScopeFacts:
    inode = inode_of(scope.netns)
    if inode is None:
        absent = Unseen(f"netns {scope.netns!r} is not there, or may not be looked at")
        return replace(facts, netns=absent, sockets=absent)
    if isinstance(processes, Unseen):
        return replace(facts, netns=inode, sockets=processes)
    return replace(facts, netns=inode, sockets=gather_sockets(scope.netns, inode, processes, own))
