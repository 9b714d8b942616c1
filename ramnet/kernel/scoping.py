"""How a scope's own sockets are told from its neighbours': by cgroup2, by net_cls, or not at all.

Each means is believed only after a packet of a process in the cgroup was seen to match in a
scratch namespace. cgroup2 counts a socket by the cgroup it was created in, for good; net_cls lets
sockets follow their process. Before Linux 5.15 a class id hides a socket's cgroup2, so net_cls is
tried only where no cgroup2 match works, and then none is used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ramnet.config import Scope
from ramnet.errors import KernelRefusedError
from ramnet.kernel.cgroup import cgroup2_mount, nft_path
from ramnet.kernel.probe import first_match
from ramnet.kernel.scope_cgroup import JOIN, ScopeCgroup
from ramnet.ruleset import TABLE, Capabilities, Members, Tier, member_table

_DEEPEST: Final = 8
_CAVEAT: Final = (
    "everything in the namespace is restricted, other WSL distributions included, since this "
    "kernel cannot tell the cgroup apart: "
)


@dataclass(slots=True)
class Scoping:
    """What the rules of a scope are for.

    Attributes:
        means: ``namespace``, ``cgroup2`` or ``net_cls``.
        reason: why, for a person.
        members: for the rules; None is everybody in the namespace.
        inode: of the directory that the rules name, as it was when they were planned.
    """

    means: str
    reason: str
    members: Members | None = None
    cgroup: ScopeCgroup | None = None
    inode: int | None = None

    @property
    def table(self) -> str:
        """The table that holds the rules."""
        return TABLE if self.members is None else self.members.table

    @property
    def path(self) -> str | None:
        """The cgroup that the rules name, from its hierarchy's root; None where they name none."""
        directory = self._directory()
        if directory is None or self.cgroup is None:
            return None
        mount = cgroup2_mount() if self.means == "cgroup2" else None
        return self.cgroup.path if mount is None else str(directory.relative_to(mount))

    def moved(self) -> bool:
        """Whether the cgroup that the rules name is gone, or another has its name."""
        directory = self._directory()
        if directory is None:
            return False
        try:
            return directory.stat().st_ino != self.inode
        except OSError:
            return True

    def renew(self) -> None:
        """Make the cgroup where it is not, and note which it is. Raises KernelRefusedError."""
        if self.cgroup is not None and self.means == "cgroup2":
            self.cgroup.make_unified()
        elif self.cgroup is not None and self.means == "net_cls":
            self.cgroup.make_classed()
        directory = self._directory()
        self.inode = None if directory is None else directory.stat().st_ino

    def _directory(self) -> Path | None:
        if self.cgroup is None or self.members is None:
            return None
        return self.cgroup.unified if self.means == "cgroup2" else self.cgroup.classed


def choose(scope: Scope, tier: Tier, capabilities: Capabilities, run_dir: Path) -> Scoping:
    """Make the scope's cgroup and find out by what its sockets can be told apart."""
    if scope.cgroup is None:
        return Scoping("namespace", "no cgroup is configured: the whole namespace is meant")
    cgroup = ScopeCgroup(scope.cgroup, run_dir)
    if tier.value != Tier.REDIRECT.value:
        return Scoping("namespace", f"{_CAVEAT}tier {tier.value} has no rules for it", None, cgroup)
    table, tried = member_table(scope.name), []
    for means, find in (("cgroup2", _by_cgroup2), ("net_cls", _by_net_cls)):
        found = find(cgroup, table, capabilities)
        if isinstance(found, Members):
            return _chosen(means, found, cgroup)
        tried.append(f"{means}: {found}")
    cgroup.discard()
    return Scoping("namespace", _CAVEAT + "; ".join(tried), None, cgroup)


def _chosen(means: str, members: Members, cgroup: ScopeCgroup) -> Scoping:
    how = "cgroup they were created in" if means == "cgroup2" else "class of their process's cgroup"
    reason = f"sockets of {cgroup.path} are known by the {how}"
    scoping = Scoping(means, reason, members, cgroup)
    scoping.renew()
    return scoping


def _by_cgroup2(cgroup: ScopeCgroup, table: str, capabilities: Capabilities) -> Members | str:
    if not capabilities.socket_cgroupv2:
        return "nf_tables has no socket cgroupv2 here, or there is no cgroup2"
    try:
        directory = cgroup.make_unified()
    except KernelRefusedError as error:
        return str(error)
    if directory is None:
        return "there is no cgroup2"
    path = nft_path(directory)
    rules = {f'socket cgroupv2 level {level} "{path}"': level for level in range(1, _DEEPEST + 1)}
    rule = first_match(directory / JOIN, list(rules))
    if rule is None:
        return "a packet out of the cgroup was not seen to match"
    return Members(table, cgroup=path, cgroup_level=rules[rule])


def _by_net_cls(cgroup: ScopeCgroup, table: str, capabilities: Capabilities) -> Members | str:
    if not capabilities.meta_cgroup:
        return "nf_tables has no meta cgroup here"
    try:
        directory = cgroup.make_classed()
    except KernelRefusedError as error:
        return str(error)
    if first_match(directory, [f"meta cgroup {cgroup.class_id}"]) is None:
        return "a packet out of the cgroup was not seen to match"
    return Members(table, class_id=cgroup.class_id)
