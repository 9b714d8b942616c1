"""Network namespaces: opened by the words of ``ramnet.toml``, worked in by a thread of their own.

``netns = "self"``, a path (``/run/netns/vm``), ``pid:N`` or ``pidfile:PATH``.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from ramnet.errors import ConfigError, KernelRefusedError, NamespaceAbsentError
from ramnet.kernel import libc
from ramnet.kernel.reserve import RESERVE

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SELF = "/proc/self/ns/net"


def namespace_path(netns: str) -> str:
    """The file that stands for the namespace.

    Raises:
        ConfigError: the words cannot be read.
        NamespaceAbsentError: the pid file is absent or holds no pid.
    """
    if netns == "self":
        return _SELF
    if netns.startswith("pid:"):
        return _pid_path(netns.removeprefix("pid:"), netns)
    if netns.startswith("pidfile:"):
        return _pid_path(_read_pidfile(netns.removeprefix("pidfile:")), netns)
    if not netns.startswith("/"):
        raise ConfigError(f"netns {netns!r} is neither self, pid:N, pidfile:PATH nor a path")
    return netns


def inode_of(netns: str) -> int | None:
    """The identity of the namespace that the words name now; None where there is none."""
    try:
        found = Path(namespace_path(netns)).stat()
    except (ConfigError, OSError):
        return None
    return found.st_ino


def _read_pidfile(path: str) -> str:
    try:
        with Path(path).open(encoding="ascii", errors="replace") as file:
            return file.read(32).strip()
    except OSError as error:
        raise NamespaceAbsentError(
            f"cannot read pid file {path}: {error.strerror}; is its program running?"
        ) from None


def _pid_path(pid: str, netns: str) -> str:
    if not (pid.isascii() and pid.isdigit()):
        raise NamespaceAbsentError(f"netns {netns!r}: {pid!r} is no process id")
    return f"/proc/{pid}/ns/net"


def enter(descriptor: int) -> None:
    """Move the calling thread into the network namespace behind ``descriptor``."""
    libc.setns(descriptor, libc.CLONE_NEWNET)


class Namespace:
    """One network namespace, held open, with a thread that lives in it.

    Attributes:
        descriptor: open file of the namespace; it keeps the namespace alive.
        inode: its identity; two scopes with one inode share one namespace.
    """

    def __init__(self, netns: str) -> None:
        """Open it.

        Raises:
            NamespaceAbsentError: there is no such namespace (now).
            KernelRefusedError: it may not be opened or entered.
        """
        # Half the time that ``ramnet hold`` may take would go into loading this.
        from concurrent.futures import ThreadPoolExecutor

        path = namespace_path(netns)
        self.descriptor = _open(path, netns)
        self.inode = os.fstat(self.descriptor).st_ino
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netns")
        try:
            self.call(enter, self.descriptor)
        except KernelRefusedError as error:
            self.close()
            raise KernelRefusedError(f"netns {netns!r}: cannot enter {path}: {error}") from None

    def call(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run ``function`` on the namespace's thread and return what it returns.

        Raises:
            KernelRefusedError: so few file descriptors are left that it was not even begun.
        """
        with RESERVE.lent():
            return self._thread.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """End the thread and let go of the namespace."""
        self._thread.shutdown()
        os.close(self.descriptor)


def _open(path: str, netns: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        raise KernelRefusedError(f"netns {netns!r}: no permission to open {path}") from None
    except OSError as error:
        raise NamespaceAbsentError(
            f"netns {netns!r}: cannot open {path}: {error.strerror}; make it first, or mend the "
            "scope's netns in ramnet.toml"
        ) from None
    return descriptor
