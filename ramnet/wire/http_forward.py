"""Writes the head that goes on to the server, or to a parent proxy, in place of the client's."""

import re
from collections.abc import Sequence
from typing import Literal

from .http_authority import write_authority
from .http_fields import tokens
from .http_model import Fields, RequestHead
from .result import Absent

_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"te", b"upgrade"))
# What a Connection field may not take away: it would change whom or what is asked.
_END_TO_END = frozenset((b"host", b"content-length", b"transfer-encoding"))


def forward_head(
    head: RequestHead,
    *,
    form: Literal["origin", "absolute"] = "origin",
    extra: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """The head as a proxy passes it on (RFC 9110 7.6.1): one request, then the end.

    Hop-by-hop and ``Proxy-*`` fields are gone, Host is what the request addresses, and
    ``Connection: close`` is set. ``form`` is how the target is written: ``absolute`` for a
    parent proxy; ``extra`` are fields for it, such as its credentials. A CONNECT is not
    for this; see :func:`connect_head`.
    """
    assert head.form != "authority"
    authority = b"" if isinstance(head.host, Absent) else write_authority(head.host, head.port)
    target = _path(head)
    if form == "absolute":
        target = (head.scheme or "http").encode() + b"://" + authority + target.lstrip(b"*")
    fields = [(b"Host", authority), *_end_to_end(head.headers)]
    fields += [*extra, (b"Connection", b"close")]
    version = b"HTTP/%d.%d" % head.version
    return _write(b" ".join((head.method.encode("ascii"), target, version)), fields)


def connect_head(host: str, port: int, *, extra: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A CONNECT to a parent proxy (RFC 9110 9.3.6) for ``host`` and ``port``."""
    authority = write_authority(host, port)
    return _write(b"CONNECT " + authority + b" HTTP/1.1", [(b"Host", authority), *extra])


def _path(head: RequestHead) -> bytes:
    """The target in origin form (RFC 9112 3.2.1), or ``*`` for the server as a whole."""
    if head.form != "absolute":
        return head.target.encode("ascii")
    rest = head.target.partition("://")[2]
    authority = re.match(r"[^/?]*", rest)
    path = rest[authority.end() if authority else 0 :]
    if not path and head.method == "OPTIONS":
        return b"*"
    return (path if path.startswith("/") else "/" + path).encode("ascii")


def _end_to_end(fields: Fields) -> Fields:
    nominated = set(tokens(fields, b"connection")) - _END_TO_END
    dropped = nominated | _HOP_BY_HOP | {b"host"}
    return tuple(
        (name, value)
        for name, value in fields
        if name.lower() not in dropped and not name.lower().startswith(b"proxy-")
    )


def _write(line: bytes, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join((line, b"\r\n", *(b"%s: %s\r\n" % field for field in fields), b"\r\n"))
