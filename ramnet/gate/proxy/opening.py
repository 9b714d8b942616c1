"""What a client's first bytes are. Pure: bytes in, meaning out."""

from dataclasses import dataclass
from typing import Final, Literal

from ramnet.wire import http, socks, tls
from ramnet.wire.result import ABSENT, Malformed, NeedMore

Protocol = Literal["tls", "socks", "http"]


class Opaque:
    """None of the protocols that tell a name."""


class Gone:
    """The client hung up without a word."""


OPAQUE: Final = Opaque()
GONE: Final = Gone()


@dataclass(frozen=True, slots=True)
class Broken:
    """Claims to be ``protocol`` and breaks its rules."""

    protocol: Protocol
    reason: str


Opening = (
    tls.ClientHello
    | http.RequestHead
    | http.Http2Preface
    | socks.Socks4Request
    | socks.Socks5Greeting
    | Opaque
    | Gone
    | Broken
)


def read_opening(data: bytes, *, ended: bool) -> Opening | NeedMore:
    """Tell what ``data``, all that the client has said so far, begins.

    ``ended`` says that no more will come.
    """
    if not data:
        return GONE if ended else NeedMore(1)
    wanted: Broken | NeedMore | None = None
    hello = tls.read_client_hello(data)
    if isinstance(hello, tls.ClientHello):
        return hello
    wanted = _unfinished("tls", hello, ended)
    if wanted is None:
        request = socks.read_request(data)
        if isinstance(request, socks.Socks4Request | socks.Socks5Greeting):
            return request
        wanted = _unfinished("socks", request, ended)
    if wanted is None:
        head = http.read_request_head(data)
        if isinstance(head, http.RequestHead | http.Http2Preface):
            return head
        wanted = _unfinished("http", head, ended)
    return OPAQUE if wanted is None else wanted


def _unfinished(protocol: Protocol, result: object, ended: bool) -> Broken | NeedMore | None:
    """A reader's other three results; None for ABSENT."""
    if result is ABSENT:
        return None
    if isinstance(result, Malformed):
        return Broken(protocol, result.reason)
    assert isinstance(result, NeedMore)
    return Broken(protocol, "it ended in the middle") if ended else result
