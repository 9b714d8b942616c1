"""Header and trailer fields of HTTP/1 (RFC 9112 5), strictly."""

import re
from collections.abc import Iterable
from typing import Final

from .http_model import Chunked, Fields, Length, NoBody
from .reader import BrokenError

MAX_FIELDS: Final = 256
"""Fields of one head."""

# The white space around a value is stripped afterwards: runs of it side by side in one pattern
# would be tried in every way, which is quadratic, before a bad line is refused.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\0-\x08\x0a-\x1f\x7f]*)")
_LENGTH = re.compile(rb"\d{1,18}")


def read_fields(lines: Iterable[bytes]) -> Fields:
    """Read lines without their ends; a folded line or space before the colon is refused."""
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if not match:
            raise BrokenError("a header field is malformed")
        fields.append((match[1], match[2].strip(b" \t")))
        if len(fields) > MAX_FIELDS:
            raise BrokenError(f"there are more than {MAX_FIELDS} header fields")
    return tuple(fields)


def values(fields: Fields, name: bytes) -> list[bytes]:
    """All values of the field ``name`` (in lower case), in order."""
    return [value for key, value in fields if key.lower() == name]


def tokens(fields: Fields, name: bytes) -> list[bytes]:
    """The comma-separated members of a list field, in lower case."""
    members = (part.strip(b" \t") for value in values(fields, name) for part in value.split(b","))
    return [member.lower() for member in members if member]


def read_framing(fields: Fields, version: tuple[int, int]) -> NoBody | Length | Chunked:
    """How the body of a request is framed (RFC 9112 6.3), refusing what is read in two ways."""
    encodings = values(fields, b"transfer-encoding")
    lengths = values(fields, b"content-length")
    if encodings and lengths:
        raise BrokenError("both Transfer-Encoding and Content-Length")
    if encodings:
        if version < (1, 1) or [value.lower() for value in encodings] != [b"chunked"]:
            raise BrokenError("a Transfer-Encoding other than chunked")
        return Chunked()
    if not lengths:
        return NoBody()
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BrokenError("Content-Length is not one number")
    return Length(int(lengths[0]))
