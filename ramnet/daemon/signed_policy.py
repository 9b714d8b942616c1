"""Has the newest policy of a signed repository in force, and a copy of it for the next start.

What was kept is verified again and in force before any server is asked. Then the server is asked
at once, every ``refresh``, and when somebody says so. What is refused changes nothing but the
status. When what signs the policy has expired for longer than ``grace``, ``on_stale`` holds.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from ramnet.audit import timestamp
from ramnet.config import Config
from ramnet.daemon import freshness
from ramnet.daemon.fetch_order import Order
from ramnet.daemon.fetching import TIME_LIMIT, Fetched, WayOut, send
from ramnet.daemon.freshness import Freshness
from ramnet.daemon.kept import open_kept, write_whole
from ramnet.daemon.schedule import Schedule
from ramnet.errors import PolicyError, RamnetError
from ramnet.kernel.clock import is_synchronised
from ramnet.trust.bundle import BUNDLE, MAX_BUNDLE
from ramnet.trust.files import read

CHECK: Final = 1.0
"""Seconds between two looks at whether what is in force has expired."""


class Install(Protocol):
    """``Adoption.install``."""

    async def __call__(self, blob: int | None, reason: str, notice: str = "") -> None:
        """Have the gates adopt a blob, or refuse everything for a reason."""


class CompileMany(Protocol):
    """``compile_document``."""

    async def __call__(self, document: int, source: str, *, many: bool) -> int:
        """Compile; a sealed memfd."""


class SignedPolicyKeeper:
    """The policy in force and what became of the last fetch."""

    def __init__(
        self,
        config: Config,
        *,
        compile_: CompileMany,
        install: Install,
        tell: Callable[[str], None],
        alarm: Callable[[str], None],
        way_out: Callable[[], WayOut | None],
    ) -> None:
        """``alarm`` takes a sentence on an attack; ``way_out`` says how a gate gets out now."""
        self.source, self._settings = config.policy, config.trust
        self._file = Path(config.state_dir) / BUNDLE
        self._compile, self._install, self._way_out = compile_, install, way_out
        self._tell, self._alarm = tell, alarm
        self._bundle: int | None = None
        self._blob: int | None = None
        self._digest = b""
        self._fresh: Freshness | None = None
        self._stale: freshness.State = "fresh"
        self._began = time.monotonic()
        self._schedule = Schedule(config.trust.refresh_seconds)
        self._due = 0.0
        """When to ask next, on the monotonic clock."""
        self._busy, self._started = asyncio.Lock(), False
        self.groups: tuple[str, ...] = ()
        self.error: str | None = None
        """Why the last fetch brought nothing; None when it did."""
        self.attack: str | None = None
        self.kept_error: str | None = None
        self.origin: str | None = None
        self.loaded_at: str | None = None
        self.loaded: float | None = None

    @property
    def in_force(self) -> bool:
        """Whether any policy is."""
        return self._blob is not None and not (
            self._stale == "overdue" and self._settings.on_stale == "refuse"
        )

    async def start(self) -> None:
        """Put what was kept in force, else what the server has, else nothing at all."""
        async with self._busy:
            self._started = True
            if await self._use_what_was_kept():
                return
            await self._ask()
            if self._blob is None:
                await self._install(None, f"No policy is in force: {self.error}")
                self._tell("there is no policy: everything is refused")

    async def watch(self) -> None:
        """Ask the server in time, for ever."""
        while True:
            await asyncio.sleep(min(max(self._due - time.monotonic(), 0.0), CHECK))
            async with self._busy:
                if time.monotonic() >= self._due:
                    await self._ask()
                await self._look_at_the_clock()

    async def refresh(self) -> None:
        """Ask the server now. Raises PolicyError when that brings nothing."""
        async with self._busy:
            await self._ask()
            await self._look_at_the_clock()
            if self.error is not None:
                raise PolicyError(self.error)

    async def use_groups(self, groups: tuple[str, ...]) -> None:
        """Ask the server now, and have the documents of these groups in force, as far as they
        can be had. What other groups had is gone before anybody is asked."""
        before, self.groups = set(self.groups), groups
        async with self._busy:
            if not self._started:
                return  # the first fetch is yet to come
            if before - set(groups):
                await self._use_what_is_here()
            await self._ask()
            if self.error is not None and set(groups) - before:
                await self._use_what_is_here()

    async def _use_what_is_here(self) -> None:
        if self._fresh is None:
            return
        with contextlib.suppress(PolicyError):
            fetched = await self._send("verify", self._bundle)
            await self._take(fetched, self.origin or self.source, heard=self._fresh.heard)

    def describe(self) -> dict[str, Any]:
        """For ``ramnet status``."""
        fresh = self._fresh
        return {
            "state": self._stale if fresh else "none",
            "seen": freshness.until(fresh.seen) if fresh else None,
            "seen_at": freshness.moment(fresh.seen) if fresh else None,
            "expires": freshness.until(fresh.expires) if fresh else None,
            "expires_at": freshness.moment(fresh.expires) if fresh else None,
            "refresh_s": self._settings.refresh_seconds,
            "grace_s": self._settings.grace_seconds,
            "on_stale": self._settings.on_stale,
            "failures": self._schedule.failures,
            "attack": self.attack,
            "groups": list(self.groups),
        }

    def warnings(self) -> list[str]:
        """What is wrong, for a person."""
        if self._fresh is None or self._stale == "fresh":
            return []
        what = {"expired": "is enforced within its grace", "overdue": "is not enforced any more"}
        if self._settings.on_stale == "keep":
            what["overdue"] = 'is enforced all the same (on_stale = "keep")'
        when = freshness.until(self._fresh.expires)
        return [f"the policy expired at {when} and {what[self._stale]}: {self.error}"]

    async def _use_what_was_kept(self) -> bool:
        try:
            bundle = await asyncio.to_thread(open_kept, self._file, MAX_BUNDLE)
        except PolicyError as error:
            self._tell(str(error))
            return False
        if bundle is None:
            return False
        try:
            fetched = await self._send("verify", bundle)
        except PolicyError as error:
            os.close(bundle)
            self._tell(f"{self._file}: {error}")
            return False
        os.close(bundle)
        return await self._take(fetched, str(self._file), heard=False)

    async def _ask(self) -> None:
        await self._ask_once()
        self._due = time.monotonic() + self._schedule.wait()

    async def _ask_once(self) -> None:
        try:
            fetched = await self._send("fetch", self._bundle)
        except PolicyError as error:
            self._fail(str(error), None)
            return
        if await self._take(fetched, self.source, heard=True):
            self.error = self.attack = None
            self._schedule.failures = 0

    async def _send(self, task: Any, kept: int | None) -> Fetched:
        try:
            root = read(Path(self._settings.root or ""))
        except RamnetError as error:
            raise PolicyError(str(error)) from error
        way = self._way_out() if task == "fetch" else None
        if task == "fetch" and way is None:
            raise PolicyError("no scope is there yet, so there is no way to the policy server")
        order = Order(
            task=task,
            url=self.source,
            root=root,
            groups=list(self.groups),
            now=time.time(),
            seconds=TIME_LIMIT,
            ca=self._settings.ca,
        )
        return await send(order, kept=kept, way=way)

    async def _take(self, fetched: Fetched, origin: str, *, heard: bool) -> bool:
        """Put in force what was brought; False leaves everything as it was."""
        report = fetched.report
        try:
            if report.error is not None:
                raise PolicyError(report.error)
            await self._adopt(fetched, origin)
        except PolicyError as error:
            fetched.close()
            self._fail(str(error), report.attack)
            return False
        os.close(fetched.documents)
        if self._bundle is not None:
            os.close(self._bundle)
        self._bundle = fetched.bundle
        self._fresh = Freshness(report.expires, report.seen, heard)
        if heard:
            await self._keep()
        self._use_the_copy_on_disk()
        await self._look_at_the_clock()
        return True

    async def _adopt(self, fetched: Fetched, origin: str) -> None:
        digest = await asyncio.to_thread(_digest, fetched.documents)
        if self._blob is not None and digest == self._digest:
            return
        blob = await self._compile(fetched.documents, origin, many=True)
        try:
            await self._install(blob, "")
        except BaseException:
            os.close(blob)
            raise
        if self._blob is not None:
            os.close(self._blob)
        self._blob, self._digest, self._stale = blob, digest, "fresh"
        self.origin, self.loaded_at, self.loaded = origin, timestamp(), time.monotonic()
        self._tell(f"the policy of {origin} is in force")

    def _fail(self, reason: str, attack: str | None) -> None:
        kept = "; the policy in force stays" if self._blob is not None else ""
        sentence = f"policy refused: {reason}{kept}"
        if attack is not None:
            self._alarm(sentence)
        elif reason != self.error:
            self._tell(sentence)
        self.error, self.attack = reason, attack
        self._schedule.failures += 1

    async def _look_at_the_clock(self) -> None:
        """Do as ``on_stale`` says once the policy is overdue, and undo it when it is renewed."""
        if self._fresh is None or self._blob is None:
            return
        up = time.monotonic() - self._began
        state = self._fresh.state(
            time.time(), self._settings.grace_seconds, up=up, synchronised=is_synchronised()
        )
        if state == self._stale:
            return
        before, self._stale = self._stale, state
        self._tell(f"the policy is {state}; it expires at {freshness.until(self._fresh.expires)}")
        if "overdue" not in (before, state):
            return
        words = freshness.sentence(self._fresh.expires) if state == "overdue" else ""
        if words and self._settings.on_stale == "refuse":
            await self._install(None, words)
        else:
            await self._install(self._blob, "", words)

    def _use_the_copy_on_disk(self) -> None:
        """Once it is there, so that between two fetches nothing of it takes memory."""
        if self.kept_error is not None:
            return
        with contextlib.suppress(OSError):
            copy = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            assert self._bundle is not None
            os.close(self._bundle)
            self._bundle = copy

    async def _keep(self) -> None:
        """Without room for a copy, enforcing goes on."""
        assert self._bundle is not None
        try:
            await asyncio.to_thread(write_whole, self._file, self._bundle)
            self.kept_error = None
        except OSError as error:
            self.kept_error = f"cannot keep a copy in {self._file}: {error.strerror}"
            self._tell(self.kept_error)


def _digest(fd: int) -> bytes:
    with os.fdopen(os.dup(fd), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    os.lseek(fd, 0, os.SEEK_SET)  # a duplicate shares the position
    return digest
