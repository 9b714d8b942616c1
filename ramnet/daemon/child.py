"""A child process known by descriptor (pidfd_open(2)), so that no signal meets a stranger.

asyncio's own subprocesses race with themselves: ``kill`` there may reap what its watcher waits
for. Here one place reaps, and the end is an event of the loop.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence


class Child:
    """A running program."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start it. Raises OSError."""
        self._process = subprocess.Popen(
            arguments, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds
        )
        self.pid = self._process.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # not reaped yet, so the pid is still its own
            self._process.kill()
            self._process.wait()
            raise

    async def wait(self) -> int:
        """Its exit status, or minus the signal that ended it."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)
        return self._process.wait()

    async def end(self) -> int:
        """SIGKILL, which ends a stopped process too; returns when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        status = await self.wait()
        os.close(self._pidfd)
        return status
