"""A small client of the Docker Engine API over its Unix socket: GET alone, bounded in every way.

HTTP/1.0, so that an answer is what comes until the end and no framing has to be believed.
"""

import socket
import time
from pathlib import Path
from typing import Final, TypeVar

import msgspec

ANSWERS_WITHIN: Final = 2.0
"""Seconds for one answer, from connecting to its last byte."""
MAX_ANSWER: Final = 8 << 20
"""Bytes of one answer."""
_OK: Final = b"200"

_T = TypeVar("_T")


class DockerApiError(Exception):
    """There was no answer that can be used; its text says why."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class DockerApi:
    """The API of one dockerd."""

    def __init__(self, path: Path) -> None:
        """``path`` of its socket; nothing is opened yet."""
        self._path = path

    def get(self, target: str, kind: type[_T]) -> _T:
        """What ``GET target`` answers, read as ``kind``; keys that it does not name are left out.

        Raises:
            DockerApiError: no socket, no permission, no answer in time, too much of it, or one
                that makes no sense.
        """
        try:
            answer = self._exchange(f"GET {target} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        except TimeoutError:
            raise DockerApiError(f"no answer to {target} within {ANSWERS_WITHIN:g} s") from None
        except OSError as error:
            raise DockerApiError(error.strerror or str(error)) from None
        head, _, body = answer.partition(b"\r\n\r\n")
        words = head.split(None, 2)
        status = words[1] if len(words) > 1 and words[0].startswith(b"HTTP/1.") else b""
        if status != _OK:
            number = int(status) if status.isdigit() and len(status) == 3 else None
            raise DockerApiError(f"{target} was answered with status {number}", number)
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DockerApiError(f"the answer to {target} makes no sense: {error}") from None

    def _exchange(self, request: bytes) -> bytes:
        deadline = time.monotonic() + ANSWERS_WITHIN
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(ANSWERS_WITHIN)
            sock.connect(str(self._path))
            sock.sendall(request)
            pieces, size = [], 0
            while piece := sock.recv(1 << 16):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_ANSWER:
                    raise DockerApiError(f"an answer of more than {MAX_ANSWER >> 20} MiB")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                sock.settimeout(left)
        return b"".join(pieces)
