"""Keeps the exporter of ``[metrics]`` running: binds its socket, starts it, answers it.

Nothing of it can hold up the service: a socket that cannot be had is told and tried again, a child
that ends is replaced, and it is answered at most twice a second.
"""

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ramnet.config import Metrics
from ramnet.config_values import parse_endpoint
from ramnet.daemon import channel, memfd
from ramnet.daemon.child import Child
from ramnet.daemon.metric_snapshot import Caveat

EXPORTER: Final = (sys.executable, "-I", "-m", "ramnet.daemon.exporter")
PAUSE: Final = 0.5
"""Seconds between two answers."""
AGAIN: Final = 10.0
"""Seconds until a socket that could not be had is tried again."""
FIRST_DELAY: Final = 0.5
"""Seconds until a child that ended is replaced; doubled each time."""
LAST_DELAY: Final = 60.0
CAVEATS_EVERY: Final = 300.0
"""Seconds between two looks for caveats; one takes a second of processor time."""
_CAVEATS_LIMIT: Final = 120.0
_MAX_CAVEATS: Final = 4 << 20

Status = Callable[[], Awaitable[dict[str, Any]]]


class MetricsKeeper:
    """Does nothing where nothing is to be served.

    Attributes:
        pid: the exporter, None while there is none.
        problem: why metrics cannot be had now.
    """

    def __init__(
        self,
        metrics: Metrics,
        status: Status,
        tell: Callable[[str], None],
        caveats_command: Sequence[str] = (),
    ) -> None:
        """``status`` makes the document; ``caveats_command`` prints caveats as JSON."""
        self._listen, self._status, self._tell = metrics.listen, status, tell
        self._caveats_command = caveats_command
        self._caveats: list[Caveat] | None = None
        self.pid: int | None = None
        self.problem: str | None = None

    def describe(self) -> dict[str, Any] | None:
        """For ``ramnet status``."""
        if self._listen is None:
            return None
        return {"listen": self._listen, "pid": self.pid, "problem": self.problem}

    async def run(self) -> None:
        """Serve until cancelled."""
        if self._listen is None:
            return
        with await self._bind(self._listen) as listener:
            looks = asyncio.get_running_loop().create_task(self._look_for_caveats())
            try:
                await self._keep(listener)
            finally:
                looks.cancel()
                if self._listen.startswith("/"):
                    Path(self._listen).unlink(missing_ok=True)

    async def _bind(self, listen: str) -> socket.socket:
        while True:
            try:
                listener = bind(listen)
            except OSError as error:
                why = os.strerror(error.errno or 0)
                self._note(
                    f"metrics are not served: {listen} cannot be had ({why}); free it, or choose "
                    "another [metrics] listen"
                )
                await asyncio.sleep(AGAIN)
            else:
                self.problem = None
                return listener

    async def _keep(self, listener: socket.socket) -> None:
        delay = FIRST_DELAY
        while True:
            try:
                await self._live(listener)
                reason = "ended"
            except Exception as error:  # whatever it is, the service goes on without
                reason = f"could not be kept ({error!r})"
            self._note(f"the exporter of metrics {reason}; it is started again")
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_DELAY)

    async def _live(self, listener: socket.socket) -> None:
        """One life of the child."""
        ours, theirs = channel.pair()
        with ours:
            with theirs:
                fds = (listener.fileno(), theirs.fileno())
                arguments = [f"--listener={fds[0]}", f"--channel={fds[1]}"]
                child = Child([*EXPORTER, *arguments], pass_fds=fds)
            self.pid = child.pid
            try:
                while await asyncio.get_running_loop().sock_recv(ours, 16):
                    await self._answer(ours)
                    self.problem = None
                    await asyncio.sleep(PAUSE)
            finally:
                self.pid = None
                await child.end()

    async def _answer(self, ours: socket.socket) -> None:
        document = {"status": await self._status(), "caveats": self._caveats}
        fd = memfd.create("status")
        try:
            os.write(fd, msgspec.json.encode(document))
            memfd.seal(fd)
            socket.send_fds(ours, [b"!"], [fd])
        finally:
            os.close(fd)

    async def _look_for_caveats(self) -> None:
        while self._caveats_command:
            self._caveats = await self._find_caveats()
            await asyncio.sleep(CAVEATS_EVERY)

    async def _find_caveats(self) -> list[Caveat] | None:
        """Those that the command prints; None where it does not."""
        found = memfd.create("caveats")
        try:
            child = Child(self._caveats_command, stdout=found, stderr=subprocess.DEVNULL)
            try:
                async with asyncio.timeout(_CAVEATS_LIMIT):
                    await child.wait()
            finally:
                await child.end()
            return msgspec.json.decode(os.pread(found, _MAX_CAVEATS, 0), type=list[Caveat])
        except (OSError, TimeoutError, msgspec.DecodeError):
            return None
        finally:
            os.close(found)

    def _note(self, problem: str) -> None:
        if problem != self.problem:
            self._tell(problem)
        self.problem = problem


def bind(listen: str) -> socket.socket:
    """A listening socket, in the namespace of this process. Raises OSError."""
    if not listen.startswith("/"):
        address, port = parse_endpoint(listen)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)
    path = Path(listen)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):  # of a service before this one
            path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(listen)
        path.chmod(0o666)  # what it says anybody may read at the control socket
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
