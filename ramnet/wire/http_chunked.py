"""Follows a chunked body (RFC 9112 7.1) so that a relay knows where the next request begins."""

import re
from enum import Enum
from typing import Final

from .http_fields import read_fields
from .reader import BrokenError
from .result import Malformed

MAX_SIZE_LINE: Final = 1024
"""Bytes of a line with a chunk's size and extensions."""

MAX_TRAILERS: Final = 8192
"""Bytes of all trailer fields."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\0-\x08\x0a-\x1f\x7f]*)?")
_FORBIDDEN_TRAILERS = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection"))


class _Expect(Enum):
    SIZE = "a line with a chunk's size"
    DATA = "the data of a chunk"
    DATA_END = "the line end after a chunk's data"
    TRAILER = "a trailer field or the empty line"
    NOTHING = "nothing: the body has ended"


class ChunkedBody:
    """The place reached in one chunked body; reads framing only and keeps no data."""

    __slots__ = ("_broken", "_expect", "_line", "_trailers", "remaining")

    remaining: int
    """Bytes of chunk data that come next: a relay may move them unseen, then ``skip`` them."""

    def __init__(self) -> None:
        self.remaining = 0
        self._expect = _Expect.SIZE
        self._line = b""
        self._trailers = 0
        self._broken: Malformed | None = None

    def feed(self, data: bytes | memoryview) -> tuple[int, bool] | Malformed:
        """Go on through ``data``, the bytes after those consumed before.

        Returns how many of them belong to this body and whether it ended with them. Short of
        the end all of ``data`` is consumed. Malformed stays malformed.
        """
        view = memoryview(data)
        at = 0
        try:
            while at < len(view) and self._expect is not _Expect.NOTHING and not self._broken:
                at += self._step(view[at:])
        except BrokenError as broken:
            self._broken = Malformed(str(broken))
        return self._broken or (at, self._expect is _Expect.NOTHING)

    def skip(self, size: int) -> None:
        """Note that ``size`` bytes of chunk data, at most ``remaining``, went past unseen."""
        assert 0 <= size <= self.remaining
        self.remaining -= size
        if not self.remaining and self._expect is _Expect.DATA:
            self._expect = _Expect.DATA_END

    def _step(self, view: memoryview) -> int:
        if self._expect is _Expect.DATA:
            moved = min(len(view), self.remaining)
            self.skip(moved)
            return moved
        if self._expect is _Expect.DATA_END:
            return self._read_data_end(view)
        return self._read_line(view)

    def _read_data_end(self, view: memoryview) -> int:
        part = bytes(view[: 2 - len(self._line)])
        self._line += part
        if not b"\r\n".startswith(self._line):
            raise BrokenError("a chunk is longer than its size")
        if self._line == b"\r\n":
            self._line = b""
            self._expect = _Expect.SIZE
        return len(part)

    def _read_line(self, view: memoryview) -> int:
        limit = MAX_SIZE_LINE if self._expect is _Expect.SIZE else MAX_TRAILERS
        part = bytes(view[: limit + 1 - len(self._line)])
        end = part.find(b"\n") + 1
        if end:
            line, self._line = self._line + part[:end], b""
            self._take_line(line)
            return end
        self._line += part
        if len(self._line) > limit:
            raise BrokenError("a line of a chunked body is too long")
        return len(part)

    def _take_line(self, line: bytes) -> None:
        text = line.removesuffix(b"\r\n")  # a CR or LF that stands alone is refused below
        if self._expect is _Expect.SIZE:
            self._take_size(text)
        else:
            self._take_trailer(text)

    def _take_size(self, text: bytes) -> None:
        match = _SIZE.fullmatch(text)
        if not match:
            raise BrokenError("the size of a chunk is malformed")
        self.remaining = int(match[1], 16)
        self._expect = _Expect.DATA if self.remaining else _Expect.TRAILER

    def _take_trailer(self, text: bytes) -> None:
        if not text:
            self._expect = _Expect.NOTHING
            return
        self._trailers += len(text) + 2
        if self._trailers > MAX_TRAILERS:
            raise BrokenError(f"the trailer fields are longer than {MAX_TRAILERS} bytes")
        for name, _ in read_fields([text]):
            if name.lower() in _FORBIDDEN_TRAILERS:
                raise BrokenError("a trailer field that only a head may have")
