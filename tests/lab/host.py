"""A host: process-id, mount, UTS and network namespaces with a first process that we hold."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.lab.processes import LabError, Process, Result, child_of, wait_until

_CLONE_NEWNET = 0x40000000
_HOLDER = Path(__file__).with_name("holder.py")
_LIBC = ctypes.CDLL(None, use_errno=True)

#: What a host may change without changing the machine (Debian has both directories).
_PRIVATE_COPIES = ("/etc", "/usr/local/share/ca-certificates")

#: Where programs of a host are found; what a machine's owner put into /usr/local is not.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

#: Programs see this environment and what the caller adds: nothing of the machine's own.
_ENVIRONMENT = {
    "PATH": PATH,
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Host:
    """Namespaces with a life of their own; see the package's design note.

    Attributes:
        name: also its host name.
        directory: what belongs to this host alone: private copies, logs, state.
    """

    def __init__(self, name: str, directory: Path, holder: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.directory = directory
        self._holder = holder
        pid = child_of(holder.pid)
        if pid is None:
            raise LabError(f"the first process of {name} did not start")
        self.pid = pid
        self._environment = _ENVIRONMENT | {"HOME": str(directory / "home")}
        self._started: list[Process] = []

    @classmethod
    def create(cls, name: str, directory: Path, *, network_of: Host | None = None) -> Self:
        """Make a host; `network_of` gives another host whose network namespace it shares."""
        (directory / "log").mkdir(parents=True)
        enter = ["nsenter", f"--net={network_of.network_path}", "--"] if network_of else []
        network = [] if network_of else ["--net"]
        holder = subprocess.Popen(
            [*enter, "unshare", *network, "--mount", "--pid", "--uts", "--fork", "--mount-proc",
             "--kill-child", sys.executable, "-I", "-S", str(_HOLDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for whoever made the lab
        )  # fmt: skip
        try:
            return cls._adopt(name, directory, holder, own_network=network_of is None)
        except BaseException:
            _end(holder)
            raise

    @classmethod
    def _adopt(
        cls, name: str, directory: Path, holder: subprocess.Popen[bytes], *, own_network: bool
    ) -> Self:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise LabError(f"cannot make the namespaces of {name}")
        host = cls(name, directory, holder)
        host.run(["hostname", name]).check()
        host._make_private()
        if own_network:
            host.run(["ip", "link", "set", "lo", "up"]).check()
        return host

    @property
    def network_path(self) -> str:
        """The network namespace as a path on this machine."""
        return f"/proc/{self.pid}/ns/net"

    @property
    def enter_command(self) -> list[str]:
        """What a person types to get in; a program's arguments follow."""
        # Root and working directory too: a lab may be made inside a chroot.
        flags = ["--mount", "--pid", "--uts", "--net", "--root", "--wd"]
        return ["nsenter", "--target", str(self.pid), *flags, "--"]

    def path(self, inner: str | Path) -> Path:
        """An absolute path of this host, as this machine's processes reach it."""
        return Path(f"/proc/{self.pid}/root{inner}")

    def _make_private(self) -> None:
        """Give the host its own /etc, /run, home and view of /sys.

        /var/lib and /root stay the machine's: a clone may lie there. Programs that keep state are
        told a directory of the host's own.
        """
        (self.directory / "home").mkdir()
        copies = self.directory / "private"
        for inner in _PRIVATE_COPIES:
            shutil.copytree(inner, copies / inner[1:], symlinks=True)
        script = ["mount -t tmpfs -o mode=755 tmpfs /run", "mkdir -p /run/lock"]
        for inner in _PRIVATE_COPIES:
            script.append(f"mount --bind '{copies}{inner}' '{inner}'")
        # A new sysfs shows this network namespace; the cgroup mounts below it are kept.
        script += [
            "mkdir -p /run/cgroup",
            "mount --rbind /sys/fs/cgroup /run/cgroup",
            "umount --recursive --lazy /sys",
            "mount -t sysfs sysfs /sys",
            "mount --move /run/cgroup /sys/fs/cgroup",
            "rmdir /run/cgroup",
            # What a crashed test left mounted in this machine would confuse runc.
            'grep ^ramnet /proc/self/mounts | while read -r _ at _; do umount "$at"; done',
            # A resolv.conf that is a link (systemd-resolved) would point into the old /run.
            "rm -f /etc/resolv.conf /etc/nsswitch.conf",
            "echo 'hosts: files dns' >/etc/nsswitch.conf",
            "touch /etc/resolv.conf",
            f"echo '127.0.0.1 localhost {self.name}\n::1 localhost' >/etc/hosts",
        ]
        self.run(["sh", "-ec", "\n".join(script)]).check()

    def write(self, inner: str, text: str) -> None:
        """Write a file of this host, making its directory."""
        path = self.path(inner)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        seconds: float = 60,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a program to its end. Raises LabError when it takes longer than `seconds`."""
        return self._run([*self.enter_command, *argv], argv, stdin, seconds, environment or {})

    def run_outside(self, argv: Sequence[str], *, seconds: float = 60) -> Result:
        """Run a program of this machine that only sees the network of this host."""
        return self._run(["nsenter", f"--net={self.network_path}", "--", *argv], argv, "", seconds)

    def _run(
        self,
        command: Sequence[str],
        argv: Sequence[str],
        stdin: str,
        seconds: float,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        began = time.monotonic()
        popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment | dict(environment or {}),
            cwd="/",
            start_new_session=True,
        )
        try:
            out, err = popen.communicate(stdin.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            if (pid := child_of(popen.pid)) is not None:
                os.kill(pid, 9)
            out, err = popen.communicate()
            said = (out + err).decode(errors="replace")[-1000:]
            raise LabError(f"{' '.join(argv)}: no end after {seconds} s: {said}") from None
        took = time.monotonic() - began
        texts = out.decode(errors="replace"), err.decode(errors="replace")
        return Result(tuple(argv), popen.returncode, *texts, took)

    def start(
        self, argv: Sequence[str], *, log: str, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start a program that goes on; it ends with the host at the latest."""
        log_path = self.directory / "log" / f"{log}.log"
        with log_path.open("ab") as output:
            popen = subprocess.Popen(
                [*self.enter_command, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment | dict(environment or {}),
                cwd="/",
                start_new_session=True,
            )
        process = Process(popen, tuple(argv), log_path)
        self._started.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling *thread* into this network namespace for the length of the block."""
        task = Path(f"/proc/self/task/{threading.get_native_id()}/ns/net")
        with task.open() as home, Path(self.network_path).open() as namespace:
            _set_network_namespace(namespace.fileno())
            try:
                yield
            finally:
                _set_network_namespace(home.fileno())

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM,
               protocol: int = 0) -> socket.socket:  # fmt: skip
        """Make a socket that lives in this host; any thread may use it."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    def wait_listening(self, port: int, process: Process, seconds: float = 10) -> None:
        """Wait until a TCP connection to 127.0.0.1:port of this host is accepted."""

        def accepted() -> bool:
            if process.code is not None:
                raise LabError(f"{process.argv[0]} ended with {process.code}: {process.tail()}")
            with self.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(f"{process.argv[0]} listening on {port}", accepted, seconds)

    def close(self) -> None:
        """End every process of this host at once; the namespaces go with the last one."""
        _end(self._holder)
        for process in self._started:
            process.wait(10)


def _set_network_namespace(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _end(holder: subprocess.Popen[bytes]) -> None:
    """Close the pipe that a first process reads, and wait for its end."""
    for pipe in (holder.stdin, holder.stdout):
        if pipe is not None:
            pipe.close()
    holder.wait(10)
