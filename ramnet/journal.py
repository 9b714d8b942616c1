"""What the service and its gates say besides the audit log: sentences, and decisions on request.

Level ``info``: the service's own news, as sentences on stderr. Level ``debug``: every event of the
gates as well. Under systemd those go to the journal with fields of their own, so that
``journalctl RAMNET_VERDICT=refused RAMNET_NAME=quay.io`` finds them; elsewhere to stderr.

Sources: systemd.journal-fields(7), systemd.exec(5) on JOURNAL_STREAM, and
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
"""

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from ramnet.audit import Event, Verdict, describe

Level = Literal["info", "debug"]

SOCKET: Final = "/run/systemd/journal/socket"
_STDERR: Final = 2
_MAX_VALUE: Final = 1000
_MAX_LINE: Final = select.PIPE_BUF  # what a pipe takes whole or not at all (pipe(7))
_PRIORITIES: Final[dict[Verdict, int]] = {"allowed": 6, "refused": 5, "would-deny": 5, "info": 6}
"""syslog(3): 5 is notice, 6 is info."""


class Journal:
    """Where a gate's events are seen; it never raises and never waits."""

    def __init__(self) -> None:
        """Level ``info``: nothing is written."""
        self.level: Level = "info"
        self._socket: socket.socket | None = None

    def write(self, event: Event) -> None:
        """Show ``event`` where the level is ``debug``; whatever cannot be written is left out."""
        if self.level != "debug":
            return
        with contextlib.suppress(OSError):
            if stderr_is_journal():
                self._send(message(event))
            elif select.select([], [_STDERR], [], 0)[1]:
                line = f"ramnet: {describe(event)}\n".encode(errors="replace")
                os.write(_STDERR, line[:_MAX_LINE])

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        self._socket.sendto(data, SOCKET)


def stderr_is_journal() -> bool:
    """Whether the service manager says so, and it is so still."""
    found = os.fstat(_STDERR)
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def message(event: Event) -> bytes:
    """One datagram of the journal's own protocol."""
    return b"".join(_field(key, value) for key, value in _fields(event))


def _fields(event: Event) -> Iterator[tuple[str, str]]:
    yield "MESSAGE", describe(event)
    yield "PRIORITY", str(_PRIORITIES[event.verdict])
    yield "SYSLOG_IDENTIFIER", "ramnet"
    for key, value in msgspec.to_builtins(event).items():
        if key not in ("time", "redirect") and value not in (None, 0):
            yield f"RAMNET_{key.upper()}", str(value)


def _field(key: str, value: str) -> bytes:
    """With its length before it, so that no byte of a client's makes a field of its own."""
    data = value.encode(errors="replace")[:_MAX_VALUE]
    return key.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
