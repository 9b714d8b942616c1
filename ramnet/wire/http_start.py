"""Is this HTTP at all? Decided from the first line, as early as can be.

``ABSENT`` hands the connection to the rule for protocols that name nothing, so nothing that a
lenient HTTP server would serve may come out as ``ABSENT``: what resembles a request and is none
by the letter is malformed. Lenient servers skip white space of any kind before a request, split
its first line at any white space, fold the case of the method, and take a line without a version
for HTTP/0.9 (nginx, Apache httpd, Python's http.server).
"""

import re
from dataclasses import dataclass

from .reader import BrokenError
from .result import ABSENT, Absent, NeedMore

_MAX_EMPTY_LINES = 4
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_EMPTY_LINES = re.compile(rb"(?:\r\n){0,%d}" % _MAX_EMPTY_LINES)
_BLANK = re.compile(rb"[ \t\v\f\r\n]*")
_WORD = re.compile(_TOKEN + rb"*")
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f\x7f]")
_LETTERS = re.compile(rb"[A-Za-z_-]+")
_METHOD_LIKE = re.compile(rb"[A-Z_-]+|(?i:get|head|post|put|delete|connect|options|trace|patch)")
_HTTP09_TARGET = re.compile(rb"(?!rtsp)(?:/|\*|[^ ]*://)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FirstLine:
    """A whole first line that speaks of HTTP."""

    text: bytes
    """The line without its line end, which is LF or CRLF."""
    end: int
    """Where the next line begins."""


def read_first_line(data: bytes) -> FirstLine | NeedMore | Absent:
    """Find the request line in ``data``; :class:`BrokenError` for what only resembles one."""
    start = _end(_BLANK, data, 0)
    proper = _end(_EMPTY_LINES, data, 0)
    word_end = _end(_WORD, data, start)
    if word_end == len(data):
        return NeedMore(len(data) + 1)
    word = data[start:word_end]
    if not word or data[word_end : word_end + 1] not in b" \t\v\f\r\n":
        return ABSENT
    line_end = data.find(b"\n", word_end)
    line = data[start : line_end if line_end >= 0 else len(data)]
    if _CONTROL.search(line):
        if _LETTERS.fullmatch(word):
            raise BrokenError("control characters in the request line")
        return ABSENT  # as git's own protocol: digits, a command, a path, NUL, no line end
    if line_end < 0:
        return NeedMore(len(data) + 1)
    if not _resembles_request(word, line):
        return ABSENT
    if start != proper:
        raise BrokenError("white space before the request")
    return FirstLine(line.removesuffix(b"\r"), line_end + 1)


def _end(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    match = pattern.match(data, start)
    return match.end() if match else start


def _resembles_request(word: bytes, line: bytes) -> bool:
    if b"HTTP/" in line.upper():
        return True
    target = line[len(word) :].strip()
    if not target or not _METHOD_LIKE.fullmatch(word):
        return False
    if word.upper() == b"CONNECT":
        return not target.startswith(b"{")  # NATS sends a JSON object
    return bool(_HTTP09_TARGET.match(target))
