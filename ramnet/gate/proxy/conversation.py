"""A plain-HTTP connection, request by request. Pure: bytes in, steps out.

The connection belongs to the name of its first request. What cannot be forwarded on it is
answered if it is the first request; if it is a later one, an answer of an earlier request may
still be on its way, so nothing is said: that one is let finish and the connection closed. The
client then asks again on a new connection, and reads its answer there.
"""

from dataclasses import dataclass
from typing import Final

from ramnet.gate.proxy.decision import Role
from ramnet.gate.proxy.ruling import Decides, Ruling, rule
from ramnet.wire.http import (
    Chunked,
    Http2Preface,
    Length,
    NoBody,
    RequestHead,
    forward_head,
    read_request_head,
)
from ramnet.wire.http_fields import tokens
from ramnet.wire.result import Absent, Malformed, NeedMore

_BODY_MEANS_NOTHING: Final = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"))
"""RFC 9110 9.3.1: a server may take no notice of such a body, and read it as the next request."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Send ``head`` on in place of the ``length`` bytes of the client's, then the body."""

    ruling: Ruling | None
    """None for what is near and names nobody."""
    head: bytes
    length: int
    body: NoBody | Length | Chunked
    upgrade: bool = False
    """What follows is unknown until the answer's status is."""
    last: bool = False
    """``Connection: close`` was set: no request may follow."""


@dataclass(frozen=True, slots=True)
class Deny:
    """Answer ``head`` with the policy's sentence."""

    ruling: Ruling
    head: RequestHead


@dataclass(frozen=True, slots=True)
class Answer400:
    """Answer 400 with these words."""

    words: str


@dataclass(frozen=True, slots=True)
class ToProxy:
    """A request meant for a proxy, the first of its connection."""

    head: RequestHead


@dataclass(frozen=True, slots=True)
class Finish:
    """Forward nothing more; let the outstanding answer come through, then close."""

    reason: str
    refused: Ruling | None = None


class Ended:
    """The client has no more requests."""


ENDED = Ended()

Step = Forward | Deny | Answer400 | ToProxy | Finish | Ended | NeedMore


class Conversation:
    """What was agreed on so far."""

    __slots__ = ("_judge", "_last", "_port", "_role", "name", "requests")

    def __init__(self, judge: Decides, role: Role, port: int) -> None:
        self._judge, self._role, self._port = judge, role, port
        self._last = False
        self.name: str | None = None
        """To whom the connection belongs."""
        self.requests = 0
        """How many were forwarded."""

    def read(self, data: bytes, *, ended: bool) -> Step:
        """The step for the request that ``data``, all that has come since the last, begins."""
        if not data and ended:
            return ENDED
        if self._last:
            return Finish("a request after the last one")
        if not data:
            return NeedMore(1)
        head = read_request_head(data)
        if isinstance(head, NeedMore):
            return self._wrong("it ended in the middle") if ended else head
        if isinstance(head, Malformed):
            return self._wrong(head.reason)
        if isinstance(head, Absent | Http2Preface):
            return self._wrong("not HTTP/1")
        return self._decide(head, data)

    def _wrong(self, reason: str) -> Step:
        if self.requests:
            return Finish(f"malformed request: {reason}")
        return Answer400(f"Malformed request: {reason} (ramnet)")

    def _decide(self, head: RequestHead, data: bytes) -> Step:
        near = self._role is Role.NEAR
        if head.form in ("authority", "absolute"):
            if self.requests:
                return Finish("a proxy request on a connection of another kind")
            if self._role is Role.TUNNEL:
                return Answer400("A proxy request inside a tunnel is refused (ramnet)")
            return ToProxy(head)
        if isinstance(head.host, Absent):
            return self._forward(head, data, None) if near else self._wrong("it has no Host")
        ruling = rule(self._judge, head.host, self._port, near=near)
        if not ruling.allowed:
            return Finish("refused", ruling) if self.requests else Deny(ruling, head)
        if self.requests and not near and ruling.name != self.name:
            return Finish("a request for another host")
        return self._forward(head, data, ruling)

    def _forward(self, head: RequestHead, data: bytes, ruling: Ruling | None) -> Step:
        upgrade = head.upgrade
        self._last = head.method in _BODY_MEANS_NOTHING and head.body not in (NoBody(), Length(0))
        if upgrade and b"h2c" in tokens(head.headers, b"upgrade"):
            # HTTP/2 without TLS would carry requests that nobody decides; a server may ignore
            # an Upgrade (RFC 9110 7.8), so ours never sees it.
            upgrade, self._last = False, True
        elif upgrade and self.requests:
            return Finish("an Upgrade after other requests")
        self.requests += 1
        self.name = ruling.name if ruling else None
        sent = forward_head(head) if self._last else data[: head.length]
        return Forward(ruling, sent, head.length, head.body, upgrade, self._last)
