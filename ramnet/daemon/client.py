"""Asks a running service over its control socket; without asyncio, so that it is quick."""

import json
import socket
import struct
from pathlib import Path
from typing import Any, Final

from ramnet.errors import KernelRefusedError, NotRunningError, RamnetError

TIME_LIMIT: Final = 15.0
"""Seconds; ``down`` is answered when the rules are gone."""
_MAX_ANSWER: Final = 16 << 20
_TIMEVAL: Final = struct.Struct("@ll")  # setsockopt(2), SO_SNDTIMEO of socket(7)


def ask(
    control_socket: str | Path,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    time_limit: float = TIME_LIMIT,
) -> Any:
    """The JSON that the service answers with, within ``time_limit`` seconds.

    Raises NotRunningError when nobody answers, KernelRefusedError when the caller may not ask,
    RamnetError with the service's own reason otherwise.
    """
    request = f"{method} {path} HTTP/1.1\r\nHost: ramnet\r\nConnection: close\r\n"
    request += f"Content-Length: {len(body)}\r\n\r\n" if body else "\r\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            _connect(sock, str(control_socket), time_limit)
            sock.settimeout(time_limit)
            sock.sendall(request.encode("ascii") + body)
            answer = _read_all(sock)
    except PermissionError as error:
        raise KernelRefusedError(
            f"{control_socket} may not be used by this user ({error.strerror}); ask as root"
        ) from error
    except (OSError, TimeoutError) as error:
        reason = error.strerror or "no answer"
        raise NotRunningError(
            f"the service does not answer on {control_socket} ({reason}); start it with: ramnet run"
        ) from error
    return _take_apart(answer, control_socket)


def _connect(sock: socket.socket, path: str, time_limit: float) -> None:
    """Wait for a place among those who wait; a socket that does not block is refused instead
    (EAGAIN, unix(7)), which whoever floods the service would bring about."""
    seconds, rest = divmod(time_limit, 1)
    limit = _TIMEVAL.pack(int(seconds), int(rest * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    sock.connect(path)


def _read_all(sock: socket.socket) -> bytes:
    pieces, size = [], 0
    while size <= _MAX_ANSWER and (piece := sock.recv(65536)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _take_apart(answer: bytes, control_socket: str | Path) -> Any:
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        status = int(head.split(b" ", 2)[1])
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ValueError("every answer is an object")
    except (IndexError, ValueError) as error:
        raise NotRunningError(f"what answers on {control_socket} is not ramnet") from error
    if status == 200:
        return document
    reason = document.get("error", status)
    if status == 403:
        raise KernelRefusedError(f"the service refused: {reason}")
    raise RamnetError(f"the service refused: {reason}")
