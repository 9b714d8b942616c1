"""``ramnet exec``: the calling process goes into a scope, or learns that it cannot.

Nothing is taken on trust: a program must not run unrestricted because a directory happens to have
the right name. So the rules in the kernel are read, and what they match is what is joined.
"""

import os
from pathlib import Path

from ramnet.config import Scope
from ramnet.errors import ConfigError, KernelRefusedError, NotRunningError
from ramnet.kernel import cgroup
from ramnet.kernel.netns import Namespace
from ramnet.kernel.nft import Nft
from ramnet.kernel.scope_cgroup import JOIN, ScopeCgroup
from ramnet.ruleset import TABLE, member_table


def enter(scope: Scope, run_dir: Path) -> None:
    """Make this process one whose new sockets, and its children's, are the scope's.

    Raises:
        ConfigError: this process is in another network namespace than the scope.
        NotRunningError: no rules stand that would restrict it.
        KernelRefusedError: the cgroup cannot be joined.
    """
    namespace = Namespace(scope.netns)
    try:
        if namespace.inode != Path("/proc/self/ns/net").stat().st_ino:
            raise ConfigError(f"scope {scope.name}: its network namespace is not this process's")
        nft = namespace.call(Nft)
        whole = namespace.call(nft.listing, TABLE)
        members = namespace.call(nft.listing, member_table(scope.name))
    finally:
        namespace.close()
    if members is not None and scope.cgroup is not None:
        _join(ScopeCgroup(scope.cgroup, run_dir), members)
    elif whole is None:
        raise NotRunningError(f"scope {scope.name} has no rules in force: is ramnet running?")


def _join(scope: ScopeCgroup, rules: str) -> None:
    unified = scope.unified
    if "socket cgroupv2" in rules:
        named = unified is not None and f'"{cgroup.nft_path(unified)}"' in rules
        if unified is None or not named:
            raise NotRunningError(f"the rules in force do not know cgroup {scope.path}")
        scope.make_unified()
        directory = unified / JOIN
    elif f"meta cgroup {scope.class_id} " in rules:
        directory = scope.make_classed()
    else:
        raise NotRunningError(f"the rules in force do not know cgroup {scope.path}")
    cgroup.join(directory, os.getpid())
    _prove(directory)


def _prove(directory: Path) -> None:
    joined = (directory / "cgroup.procs").read_text(encoding="ascii").split()
    if str(os.getpid()) not in joined:
        raise KernelRefusedError(f"this process did not come into cgroup {directory}")
