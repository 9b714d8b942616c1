"""Programs inside a host: their results, their life, and how they say that they are ready."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


class LabError(Exception):
    """The lab itself failed, not what it tests."""


@dataclass(frozen=True)
class Result:
    """A program that has ended."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def text(self) -> str:
        """Both outputs, as a person at the prompt would read them."""
        return self.out + self.err

    @property
    def last_line(self) -> str:
        lines = [line for line in self.text.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def check(self) -> Result:
        """Return self, or raise LabError with what the program said."""
        if self.code:
            raise LabError(f"{' '.join(self.argv)}: exit {self.code}: {self.text.strip()[-2000:]}")
        return self


def child_of(pid: int) -> int | None:
    """Return the pid of the one child of a process, or None: of nsenter it is the program."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return None


class Process:
    """A program running in a host, started through nsenter (which waits for it outside).

    Attributes:
        log_path: where its standard output and error go.
    """

    def __init__(self, popen: subprocess.Popen[bytes], argv: tuple[str, ...], log_path: Path):
        self._popen = popen
        self.argv = argv
        self.log_path = log_path

    @property
    def pid(self) -> int | None:
        """The program's pid as this machine sees it, None when it has ended."""
        return None if self._popen.poll() is not None else child_of(self._popen.pid)

    @property
    def inner_pid(self) -> int | None:
        """The program's pid as its host sees it (proc_pid_status(5), NSpid)."""
        if (pid := self.pid) is None:
            return None
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("NSpid:"):
                    return int(line.split()[-1])
        return None

    @property
    def code(self) -> int | None:
        return self._popen.poll()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program; nothing happens when it has ended."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def go_on(self) -> None:
        """Continue it after SIGSTOP: nsenter(1) stops with its program and continues it."""
        self._popen.send_signal(signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """Wait for the end and return the exit code. Raises LabError when it takes longer."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.argv[0]} still runs after {seconds} s: {self.tail()}") from None

    def wait_for_end(self) -> int:
        """Wait as long as it takes and return the exit code."""
        return self._popen.wait()

    def stop(self, seconds: float = 10) -> int:
        """End it with SIGTERM, after `seconds` with SIGKILL, and return the exit code."""
        self.send(signal.SIGTERM)
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            return self._popen.wait(5)

    def tail(self) -> str:
        return self.log()[-2000:]


class Notify:
    """The receiving end of the systemd notify protocol (sd_notify(3)) for one process."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(str(path))

    def wait_ready(self, process: Process | None, seconds: float) -> None:
        """Wait for READY=1. Raises LabError when `process` ends or the time is over."""
        deadline = time.monotonic() + seconds
        self._socket.settimeout(0.1)  # between looks whether the process still lives
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in self._socket.recv(4096).split(b"\n"):
                    return
            if process is not None and process.code is not None:
                raise LabError(f"{process.argv[0]} ended with {process.code}: {process.tail()}")
        said = f"{process.argv[0]}: {process.tail()}" if process else ""
        raise LabError(f"not ready after {seconds} s: {said}")

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def notify(path: Path) -> Iterator[Notify]:
    """A Notify that is closed at the end of the block."""
    receiver = Notify(path)
    try:
        yield receiver
    finally:
        receiver.close()


def wait_until(what: str, true: Callable[[], object], seconds: float = 10) -> None:
    """Poll every 10 ms, for programs that tell nobody when they are ready. Raises LabError."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds} s")
        time.sleep(0.01)
