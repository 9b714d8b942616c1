"""Reads the head of an HTTP/1 response, so that a relay can tell interim, 101 and final apart."""

import re

from .http_head import MAX_HEAD
from .http_model import ResponseHead
from .result import Malformed, NeedMore

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: [^\0\r\n]*)?\r?\n")
_STATUS_PREFIX = b"HTTP/1."
# RFC 9112 2.2: a recipient may take a bare LF for a line end, and some old servers send it.
_HEAD_END = re.compile(rb"\n\r?\n")


def read_response_status(
    data: bytes | memoryview, *, limit: int = MAX_HEAD
) -> ResponseHead | NeedMore | Malformed:
    """Read the response head at the beginning of ``data``, of at most ``limit`` bytes."""
    data = bytes(data[:limit])
    if not data.startswith(_STATUS_PREFIX[: len(data)]):
        return Malformed("the response is not HTTP/1")
    if b"\n" in data:
        line = _STATUS_LINE.match(data)
        if not line:
            return Malformed("the status line is malformed")
        end = _HEAD_END.search(data, line.end() - 1)
        if end:
            return ResponseHead(int(line[1]), end.end())
    if len(data) >= limit:
        return Malformed(f"the head is longer than {limit} bytes")
    return NeedMore(len(data) + 1)
