"""The few system calls that Python 3.11 does not offer.

Each raises ``KernelRefusedError`` with the call and the kernel's reason.
"""

import ctypes
import os
from typing import Final

from ramnet.errors import KernelRefusedError

CLONE_NEWNET: Final = 0x40000000
_MNT_DETACH: Final = 2
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38

_libc = ctypes.CDLL(None, use_errno=True)


def setns(descriptor: int, kind: int) -> None:
    """setns(2): move the calling thread into the namespace behind ``descriptor``."""
    _check(_libc.setns(descriptor, kind), "setns")


def unshare(kind: int) -> None:
    """unshare(2): give the calling thread a namespace of its own."""
    _check(_libc.unshare(kind), "unshare")


def mount(source: str, target: str, kind: str, options: str) -> None:
    """mount(2), without flags."""
    words = (source.encode(), target.encode(), kind.encode(), 0, options.encode())
    _check(_libc.mount(*words), f"to mount {kind} ({options})")


def unmount(target: str) -> None:
    """umount2(2) with MNT_DETACH."""
    _check(_libc.umount2(target.encode(), _MNT_DETACH), "umount2")


def die_with_parent(signal_number: int) -> None:
    """PR_SET_PDEATHSIG: be signalled when the thread that started this process ends."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS: no execve may grant what this process has not."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_undumpable() -> None:
    """PR_SET_DUMPABLE 0: no core file, no ptrace by the same user."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, value, 0, 0, 0), "prctl")


def _check(result: int, call: str) -> None:
    if result != 0:
        reason = os.strerror(ctypes.get_errno())
        raise KernelRefusedError(f"the kernel refused {call}: {reason}")
