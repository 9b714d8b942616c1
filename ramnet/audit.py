"""The audit log: what was asked, what was answered and which policy entry decided.

JSON lines, one file per scope and writer, rotated by rename. Writing must never hurt the
gate: a full disk loses events, counts them and says so once there is room again.
"""

import errno
import heapq
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Final, Literal, get_args

import msgspec

Verdict = Literal["allowed", "refused", "would-deny", "info"]
"""``would-deny``: it passed, since the policy says ``enforce = false``."""
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
Kind = Literal["dns", "tls", "http", "connect", "socks", "opaque", "near", "service"]


def timestamp() -> str:
    """Now, as RFC 3339 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Redirect(msgspec.Struct, kw_only=True, frozen=True):
    """Who sent the client to a refused host, by the request's own word (Referer)."""

    by: str
    """The registry, HOST or HOST:PORT."""


class Event(msgspec.Struct, kw_only=True):
    """One line of the audit log."""

    time: str = msgspec.field(default_factory=timestamp)
    """RFC 3339, UTC, milliseconds; so that times sort as text."""
    scope: str
    kind: Kind
    """By which protocol the name was told; ``service`` is ramnet's own news."""
    name: str | None = None
    port: int | None = None
    verdict: Verdict
    entry: str | None = None
    """The policy entry that decided."""
    original_destination: str | None = None
    """ADDRESS:PORT that the client meant, where it is known."""
    bytes_up: int = 0
    bytes_down: int = 0
    reason: str | None = None
    container: str | None = None
    """Whose connection it was, where the scope covers containers."""
    redirect: Redirect | None = None
    """On an event of its own behind a refusal of the same name, verdict ``info``."""


def describe(event: Event) -> str:
    """An event on one line, fit for a terminal; without its time."""
    text = "  ".join(_columns(event))
    return "".join(c if c.isprintable() else "?" for c in text)


def _columns(event: Event) -> Iterator[str]:
    yield f"{event.scope:<10} {event.verdict:<7} {event.kind:<7}"
    if event.name is not None:
        yield event.name if event.port is None else f"{event.name}:{event.port}"
    if event.original_destination is not None:
        yield f"meant for {event.original_destination}"
    if event.entry is not None:
        yield f"by {event.entry}"
    if event.bytes_up or event.bytes_down:
        yield f"{event.bytes_up} up, {event.bytes_down} down"
    if event.reason is not None:
        yield event.reason


MAX_LINE: Final = 1 << 16
"""Bytes of a line that are read at once; no event is as long. Root reads what the gate has written,
and a gate that somebody has taken over writes what it likes."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Event)


class EventLog:
    """Appends events to ``path``; the only writer of that file. Never raises once made."""

    def __init__(
        self,
        path: str | Path,
        max_bytes: int = 8 * 2**20,
        keep: int = 4,
        echo: Callable[[Event], None] = lambda _: None,
    ) -> None:
        """Rotate beyond ``max_bytes``; ``keep`` older files stay as ``path.1`` and so on.

        ``echo`` is given every event too.
        """
        self._echo = echo
        self.path = Path(path)
        self.lost = 0
        """Events that could not be written since the start."""
        self._max_bytes, self._keep = max_bytes, keep
        self._fd, self._size = -1, 0
        self._untold = 0

    def write(self, event: Event) -> None:
        """Append ``event``, or count it as lost."""
        self._echo(event)
        try:
            line = _ENCODER.encode(event) + b"\n"
            self._prepare(len(line))
            if self._untold:
                self._tell(event.scope)
            self._append(line)
        except (OSError, UnicodeError):
            self.lost += 1
            self._untold += 1

    def close(self) -> None:
        """Close the file; a later ``write`` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _prepare(self, coming: int) -> None:
        if self._fd >= 0 and self._size + coming > self._max_bytes:
            self.close()
            self._rotate()
        if self._fd < 0:
            # No following of links: the folder may belong to another uid than the writer's.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self.path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640)
            self._size = os.fstat(self._fd).st_size

    def _append(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        if written < len(line):  # the disk filled up in the middle: leave no torn line behind
            os.ftruncate(self._fd, self._size)
            raise OSError("short write")
        self._size += written

    def _tell(self, scope: str) -> None:
        reason = f"{self._untold} events were lost: they could not be written"
        gap = Event(scope=scope, kind="service", verdict="info", reason=reason)
        self._append(_ENCODER.encode(gap) + b"\n")
        self._untold = 0

    def _rotate(self) -> None:
        names = [self.path, *(_numbered(self.path, n) for n in range(1, self._keep + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _rotated_files(path: Path) -> dict[int, Path]:
    files = path.parent.glob(f"{path.name}.*")
    return {int(file.suffix[1:]): file for file in files if file.suffix[1:].isdecimal()}


def _open(path: Path) -> IO[bytes] | None:
    """Open a log for reading, if it is there and a regular file of its own."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):  # none, a link, a socket
            return None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return os.fdopen(fd, "rb")


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Line by line; what is longer than any event comes in pieces, which are none."""
    return iter(partial(stream.readline, MAX_LINE), b"")


def _parse(line: bytes) -> Event | None:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError):  # torn by a power cut, or not of our writing
        return None


def _read_log(path: Path) -> Iterator[Event]:
    """One log from its oldest rotated file on."""
    rotated = sorted(_rotated_files(path).items(), reverse=True)
    for file in (*(older for _, older in rotated), path):
        if stream := _open(file):
            with stream:
                yield from filter(None, map(_parse, _lines(stream)))


def read_events(*paths: str | Path) -> Iterator[Event]:
    """All events of these logs and of their rotated files, merged by time.

    Raises PermissionError where a log may not be read.
    """
    return heapq.merge(*(_read_log(Path(path)) for path in paths), key=lambda event: event.time)


class Follower:
    """What is written to some logs from now on, across rotations and for logs yet to come."""

    def __init__(self, paths: Iterable[str | Path] = ()) -> None:
        self._open: dict[Path, _Tail] = {}
        self.add(paths, from_end=True)

    def add(self, paths: Iterable[str | Path], *, from_end: bool = False) -> None:
        """Follow these too; a log that is new is read from its beginning."""
        for path in map(Path, paths):
            if path not in self._open:
                self._open[path] = _Tail(path, from_end=from_end)

    def poll(self) -> list[Event]:
        """The events since the last call, by time."""
        found = [event for tail in self._open.values() for event in tail.read()]
        return sorted(found, key=lambda event: event.time)

    def close(self) -> None:
        """Close the files."""
        for tail in self._open.values():
            tail.close()
        self._open.clear()


class _Tail:
    """One followed file, with the piece of a line that is not whole yet."""

    def __init__(self, path: Path, *, from_end: bool) -> None:
        self._path = path
        self._rest = b""
        self._stream = _open(path)
        if self._stream and from_end:
            self._stream.seek(0, os.SEEK_END)

    def read(self) -> Iterator[Event]:
        if self._stream is None:
            self._stream = _open(self._path)
        elif self._rotated():
            missed = self._written_since()
            yield from self._drain()  # what was written between our last look and the rename
            self.close()
            for path in missed:
                self._stream = _open(path)
                yield from self._drain()
                self.close()
            self._stream = _open(self._path)
        yield from self._drain()

    def _written_since(self) -> list[Path]:
        """The rotated files younger than the one that is open."""
        assert self._stream is not None
        inode = os.fstat(self._stream.fileno()).st_ino
        found = _rotated_files(self._path)
        mine = [number for number, path in found.items() if path.stat().st_ino == inode]
        return [
            found[number] for number in sorted(found, reverse=True) if number < max(mine, default=0)
        ]

    def _drain(self) -> Iterator[Event]:
        if self._stream is None:
            return
        for piece in _lines(self._stream):
            self._rest += piece
            if self._rest.endswith(b"\n") or len(self._rest) >= MAX_LINE:
                whole, self._rest = self._rest, b""
                if event := _parse(whole):
                    yield event

    def _rotated(self) -> bool:
        assert self._stream is not None
        try:
            return self._path.stat().st_ino != os.fstat(self._stream.fileno()).st_ino
        except FileNotFoundError:
            return False

    def close(self) -> None:
        if self._stream:
            self._stream.close()
        self._stream, self._rest = None, b""
