"""Reads the head of an HTTP/1 request (RFC 9112) and says whom the request addresses."""

import re
from typing import Final, Literal, NamedTuple, cast

from .http_authority import read_authority
from .http_fields import read_fields, read_framing, tokens, values
from .http_model import Fields, Form, Http2Preface, Length, NoBody, RequestHead
from .http_start import read_first_line
from .reader import BrokenError
from .result import ABSENT, Absent, Malformed, NeedMore

MAX_HEAD: Final = 65536
"""Bytes of one head."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PREFACE_LINE = _PREFACE[:14]
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Z-]{1,32}) ([!-~]+) HTTP/1\.([01])")
_ABSOLUTE = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?]*)(?P<path>.*)", re.IGNORECASE)


class Target(NamedTuple):
    """A request target taken apart."""

    form: Form
    authority: tuple[str, int | None] | Absent
    scheme: Literal["http", "https"] | None = None


def read_request_head(
    data: bytes | memoryview, *, limit: int = MAX_HEAD
) -> RequestHead | Http2Preface | NeedMore | Malformed | Absent:
    """Read the request head at the beginning of ``data``, all that was seen so far.

    ``limit`` is the most bytes a head may have. A longer one is malformed.
    """
    data = bytes(data[:limit])
    if data.startswith(_PREFACE):
        return Http2Preface()
    if data.startswith(_PREFACE_LINE) and _PREFACE.startswith(data):
        return NeedMore(len(_PREFACE))
    try:
        result = _read_head(data)
    except BrokenError as broken:
        return Malformed(str(broken))
    if isinstance(result, NeedMore) and len(data) >= limit:
        return Malformed(f"the head is longer than {limit} bytes")
    return result


def _read_head(data: bytes) -> RequestHead | NeedMore | Absent:
    line = read_first_line(data)
    if isinstance(line, NeedMore | Absent):
        return line
    match = _REQUEST_LINE.fullmatch(line.text)
    if not match:
        raise BrokenError("the request line is not HTTP/1.0 or HTTP/1.1")
    target = split_target(match[1], match[2].decode("ascii"))
    head_end = data.find(b"\r\n\r\n", line.end - 2)
    _refuse_bare_line_ends(data[line.end - 2 : head_end + 4 if head_end >= 0 else len(data)])
    if head_end < 0:
        return NeedMore(len(data) + 1)
    lines = data[line.end : head_end].split(b"\r\n") if head_end > line.end else []
    fields = read_fields(lines)
    return _assemble(match, target, fields, head_end + 4)


def _refuse_bare_line_ends(lines: bytes) -> None:
    """Seen at once, since a head that ends its lines so never comes to its CRLF CRLF."""
    if lines.count(b"\n") != lines.count(b"\r\n"):
        raise BrokenError("an LF stands alone in the head")


def split_target(method: bytes, target: str) -> Target:
    """Tell the four forms of RFC 9112 3.2 apart; :class:`BrokenError` where none fits."""
    if method == b"CONNECT":
        authority = read_authority(target.encode("ascii"))
        if authority[1] is None:
            raise BrokenError("a CONNECT without a port")
        return Target("authority", authority)
    if "#" in target:
        raise BrokenError("a fragment in the request target")
    if target.startswith("/"):
        return Target("origin", ABSENT)
    if target == "*" and method == b"OPTIONS":
        return Target("asterisk", ABSENT)
    match = _ABSOLUTE.fullmatch(target)
    if not match:
        raise BrokenError("the request target is of no known form")
    scheme = cast(Literal["http", "https"], match["scheme"].lower())
    return Target("absolute", read_authority(match["authority"].encode("ascii")), scheme)


def _assemble(line: re.Match[bytes], target: Target, fields: Fields, length: int) -> RequestHead:
    version = (1, int(line[3]))
    host_header = _host_header(fields)
    addressed = host_header if isinstance(target.authority, Absent) else target.authority
    host, port = (ABSENT, None) if isinstance(addressed, Absent) else addressed
    body = read_framing(fields, version)
    if target.form == "authority" and body not in (NoBody(), Length(0)):
        raise BrokenError("a CONNECT with a body")
    return RequestHead(
        method=line[1].decode("ascii"),
        target=line[2].decode("ascii"),
        form=target.form,
        host=host,
        port=port,
        host_header=host_header,
        headers=fields,
        body=body,
        upgrade=bool(values(fields, b"upgrade")),
        expects_continue=version > (1, 0) and b"100-continue" in tokens(fields, b"expect"),
        version=version,
        length=length,
        scheme=target.scheme,
    )


def _host_header(fields: Fields) -> tuple[str, int | None] | Absent:
    hosts = values(fields, b"host")
    if len(hosts) > 1:
        raise BrokenError("more than one Host field")
    return read_authority(hosts[0]) if hosts and hosts[0] else ABSENT
