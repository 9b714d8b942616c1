"""Giving up privileges, for good."""

import os
import resource
import signal

from ramnet.errors import KernelRefusedError
from ramnet.kernel import libc


def confine(
    uid: int,
    gid: int,
    *,
    open_files: int | None = None,
    memory: int | None = None,
    cpu_seconds: int | None = None,
) -> None:
    """Turn this root process into one of ``uid`` without any capability, which cannot come back.

    It dies with its parent, leaves no core, gains nothing by execve and is traced by nobody of
    its own uid.

    Args:
        uid: user id, real, effective and saved; capabilities go with it (capabilities(7)).
        gid: group id; all supplementary groups are dropped.
        open_files: limit of file descriptors, where another one is wanted.
        memory: limit of address space, bytes.
        cpu_seconds: limit of processor time, seconds.

    Raises:
        KernelRefusedError: any step failed, or root could be had back.
    """
    parent = os.getppid()
    _limit(resource.RLIMIT_CORE, 0)
    for kind, value in (
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_seconds),
    ):
        if value is not None:
            _limit(kind, value)
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise KernelRefusedError(f"cannot become uid {uid}: {error.strerror}") from None
    libc.set_no_new_privs()
    libc.set_undumpable()
    _die_with(parent)
    _prove_no_return()


def _limit(kind: int, value: int) -> None:
    try:
        resource.setrlimit(kind, (value, value))
    except (OSError, ValueError) as error:
        raise KernelRefusedError(f"cannot set resource limit {kind} to {value}: {error}") from None


def _die_with(parent: int) -> None:
    # A change of uid clears PDEATHSIG, so it comes last; the parent may have died before it.
    libc.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prove_no_return() -> None:
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return
    raise KernelRefusedError("privileges were not given up: root could be had back")
