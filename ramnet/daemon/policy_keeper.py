"""Has the newest good policy document in force, and a copy of it for the next start.

The document is opened by the privileged side (its file may be for root alone), copied unread
into a sealed memfd, compiled by a child and handed to the gates. A document that is refused
changes nothing but the status. What was last in force is kept in the state directory, so that a
machine that starts with a broken file enforces what it enforced before.
"""

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple

from ramnet.audit import timestamp
from ramnet.daemon import memfd
from ramnet.daemon.kept import write_whole
from ramnet.errors import PolicyError

POLL: Final = 0.1
"""Seconds between two looks at the document's file."""
SETTLE: Final = 0.1
"""Seconds without a change before a changed file is read: it may be half written."""
MAX_SETTLING: Final = 50
"""A file that never settles is read all the same after so many looks."""
MAX_DOCUMENT: Final = 256 << 20
MAX_READS: Final = 5
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""The machine is short of something: no fault of the document's, which is tried again."""
LAST_GOOD: Final = "policy.last-good"

Compile = Callable[[int, str], Awaitable[int]]
Install = Callable[[int | None, str], Awaitable[None]]
"""Have the gates adopt a blob (sealed memfd), or refuse everything for a reason."""


class Signature(NamedTuple):
    """By what a changed file is known."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int
    """Of the inode: also a file made readable is worth another look."""


class PolicyKeeper:
    """The policy in force and what became of the newest document."""

    def __init__(
        self,
        source: Path,
        state_dir: Path,
        *,
        compile_: Compile,
        install: Install,
        tell: Callable[[str], None],
    ) -> None:
        """``tell`` takes a sentence for log and audit."""
        self.source, self._last_good = source, state_dir / LAST_GOOD
        self._compile, self._install, self._tell = compile_, install, tell
        self._seen: Signature | None = None
        self.error: str | None = None
        """Why the newest document is not in force; None when it is."""
        self.kept_error: str | None = None
        """Why no copy could be kept."""
        self.origin: Path | None = None
        """The file whose document is in force."""
        self.loaded_at: str | None = None
        """When it came in force: RFC 3339, UTC."""
        self.loaded: float | None = None
        """The same on the monotonic clock."""

    @property
    def in_force(self) -> bool:
        """Whether any policy is."""
        return self.origin is not None

    async def start(self) -> None:
        """Put a policy in force: the document, else the last good one, else none at all."""
        self._seen = signature(self.source)
        if await self._try(self.source):
            return
        if self._last_good.exists() and await self._try(self._last_good, keep=False):
            self._tell(f"the last good policy is in force instead, from {self._last_good}")
            return
        await self._install(None, f"No policy is in force: {self.error}")
        self._tell("there is no policy: everything is refused")

    async def watch(self) -> None:
        """Take up every change of the document, for ever."""
        while True:
            await asyncio.sleep(POLL)
            await self.look()

    async def refresh(self) -> None:
        """Read the document now, changed or not. Raises PolicyError when it is refused."""
        self._seen = signature(self.source)
        if not await self._try(self.source):
            raise PolicyError(self.error or "the policy was refused")

    async def use_groups(self, groups: tuple[str, ...]) -> None:
        """A file is for everybody."""

    def warnings(self) -> list[str]:
        """A file has nothing to warn of."""
        return []

    async def look(self) -> None:
        """Take up a change of the document, if there is one and it has settled."""
        now = signature(self.source)
        if now == self._seen:
            return
        for _ in range(MAX_SETTLING):
            await asyncio.sleep(SETTLE)
            before, now = now, signature(self.source)
            if now == before:
                break
        self._seen = now
        await self._try(self.source)

    async def _try(self, path: Path, *, keep: bool = True) -> bool:
        """Compile and install what ``path`` holds; False leaves everything as it was."""
        try:
            document = _open_document(path)
        except PolicyError as error:
            self._refuse(error, keep)
            return False
        try:
            await self._adopt(document, path)
        except PolicyError as error:
            self._refuse(error, keep)
            return False
        else:
            if keep:
                self.error = None
                await self._keep(document)
            return True
        finally:
            os.close(document)

    async def _adopt(self, document: int, path: Path) -> None:
        blob = await self._compile(document, str(path))
        try:
            await self._install(blob, "")
        except OSError as error:
            raise PolicyError(f"{path}: cannot be put in force: {error.strerror}") from error
        finally:
            os.close(blob)
        self.origin, self.loaded_at, self.loaded = path, timestamp(), time.monotonic()
        self._tell(f"the policy of {path} is in force")

    def _refuse(self, error: PolicyError, newest: bool) -> None:
        passing = isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING
        told = passing and str(error) == self.error
        if newest:
            self.error = str(error)
            self._seen = None if passing else self._seen  # None: look again
        if told:
            return
        kept = "; the policy in force stays" if self.in_force else ""
        self._tell(f"policy refused: {error}{kept}")

    async def _keep(self, document: int) -> None:
        """Keep a copy of what is in force; without room for it, enforcing goes on."""
        try:
            await asyncio.to_thread(write_whole, self._last_good, document)
            self.kept_error = None
        except OSError as error:
            self.kept_error = f"cannot keep a copy in {self._last_good}: {error.strerror}"
            self._tell(self.kept_error)


def signature(path: Path) -> Signature | None:
    """What stat(2) says of the file; None where it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _signature(found)


def _signature(found: os.stat_result) -> Signature:
    return Signature(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


def _open_document(path: Path) -> int:
    """A sealed copy of the file, taken while it did not change. Raises PolicyError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        for _ in range(MAX_READS):
            before = os.fstat(fd)
            copy = _copy(fd, path, before)
            if _signature(os.fstat(fd)) == _signature(before):
                return copy
            os.close(copy)
        raise PolicyError(f"{path}: changes all the time")
    finally:
        os.close(fd)


def _copy(fd: int, path: Path, found: os.stat_result) -> int:
    if not S_ISREG(found.st_mode):
        raise PolicyError(f"{path}: is not a regular file")
    try:
        copy = memfd.sealed_copy(fd, MAX_DOCUMENT)
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error
    if copy is None:
        raise PolicyError(f"{path}: larger than {MAX_DOCUMENT} bytes")
    return copy
