"""What to do about a client's first bytes: one table, by what they are and where they came.

Pure. The shells carry the actions out.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from ramnet.gate.proxy.opening import Broken, Gone, Opaque, Opening
from ramnet.gate.proxy.ruling import Decides, Ruling, rule
from ramnet.wire.http import Http2Preface, RequestHead
from ramnet.wire.socks import Socks4Request, Socks5Greeting
from ramnet.wire.tls import ClientHello

Kind = Literal["tls", "http", "connect", "socks", "opaque", "near"]


class Role(Enum):
    """In which conversation the bytes stand."""

    FAR = "meant for somewhere else; nothing is dialled yet"
    GIVEN = "joined to an address that the resolver gave for an allowed name"
    NEAR = "joined to what is near"
    TUNNEL = "inside a CONNECT or SOCKS tunnel that was allowed by name"
    EXPLICIT = "meant for the explicit proxy"


class Pass:
    """Everything passes from here on."""


class ByAddress:
    """No name is told: only the address can speak for it."""


class Converse:
    """Plain HTTP: each request is decided."""


@dataclass(frozen=True, slots=True)
class Connect:
    """To this name's own addresses; then everything passes."""

    kind: Kind
    ruling: Ruling


@dataclass(frozen=True, slots=True)
class Proxied:
    """A request that was meant for a proxy; the gate answers it itself."""

    head: RequestHead


@dataclass(frozen=True, slots=True)
class ProxiedSocks:
    """The same by SOCKS."""

    request: Socks4Request | Socks5Greeting


@dataclass(frozen=True, slots=True)
class DenyTls:
    """Refuse so that a TLS client can read it."""

    ruling: Ruling


@dataclass(frozen=True, slots=True)
class DenyHttp:
    """Answer 400: these words are about the request, not about a name."""

    words: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Reset; no words of ours would be understood."""

    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class WouldDeny:
    """The policy says ``enforce = false``: pass it as the client meant it, and record this."""

    kind: Kind
    reason: str


Action = (
    WouldDeny
    | Pass
    | ByAddress
    | Converse
    | Connect
    | Proxied
    | ProxiedSocks
    | DenyTls
    | DenyHttp
    | Drop
)

PASS: Final = Pass()
BY_ADDRESS: Final = ByAddress()
CONVERSE: Final = Converse()
NO_GROUND: Final = Drop("opaque", "no name, and no allowed name has this address")
"""What becomes of ``BY_ADDRESS`` where the address does not speak for it."""

_DIALLED = (Role.GIVEN, Role.NEAR, Role.TUNNEL)


def decide_opening(opening: Opening, role: Role, judge: Decides, port: int) -> Action:
    """Decide ``opening``; ``port`` is the destination's, or the tunnel's."""
    return unless_recorded(_decide(opening, role, judge, port), role, judge)


def unless_recorded(action: Action, role: Role, judge: Decides) -> Action:
    """What is done in place of ``action`` where the policy says ``enforce = false``.

    Names have passed by then (``ruling``); this is about what tells none. The explicit proxy is
    different: what is no request to a proxy means nothing there.
    """
    if judge.enforces or role is Role.EXPLICIT:
        return action
    if isinstance(action, Drop):
        return WouldDeny(action.kind, action.reason)
    return WouldDeny("http", action.words) if isinstance(action, DenyHttp) else action


def _decide(opening: Opening, role: Role, judge: Decides, port: int) -> Action:
    match opening:
        case ClientHello():
            return _decide_tls(opening, role, judge, port)
        case RequestHead():
            return _decide_http(opening, role)
        case Http2Preface():
            reason = "HTTP/2 without TLS cannot be decided by name"
            return PASS if role is Role.NEAR else Drop("http", reason)
        case Socks4Request() | Socks5Greeting():
            inside = Drop("socks", "a SOCKS request inside a tunnel")
            return inside if role is Role.TUNNEL else ProxiedSocks(opening)
        case Broken():
            return _decide_broken(opening, role)
        case Gone():
            return PASS if role in _DIALLED else Drop("opaque", "the client said nothing")
        case Opaque():
            return _decide_opaque(role)


def _decide_tls(hello: ClientHello, role: Role, judge: Decides, port: int) -> Action:
    if role is Role.EXPLICIT:
        return Drop("tls", "TLS to the explicit proxy, which speaks HTTP")
    if not isinstance(hello.server_name, str):
        if role in (Role.NEAR, Role.TUNNEL):  # the place, or the tunnel's name, was decided
            return PASS
        return Drop("tls", "no server name in the ClientHello")
    ruling = rule(judge, hello.server_name, port, near=role is Role.NEAR)
    if not ruling.allowed:
        return DenyTls(ruling)
    return PASS if role is Role.NEAR else Connect("tls", ruling)


def _decide_http(head: RequestHead, role: Role) -> Action:
    if head.form in ("authority", "absolute"):
        if role is Role.TUNNEL:
            return DenyHttp("A proxy request inside a tunnel is refused (ramnet)")
        return Proxied(head)
    if role is Role.EXPLICIT:
        return DenyHttp("This is a proxy: send CONNECT or an absolute URI (ramnet)")
    return CONVERSE


def _decide_broken(opening: Broken, role: Role) -> Action:
    if opening.protocol == "http":
        return DenyHttp(f"Malformed request: {opening.reason} (ramnet)")
    # No local proxy takes a broken hello for a request, so near it is someone's own protocol.
    if opening.protocol == "tls" and role is Role.NEAR:
        return PASS
    return Drop(opening.protocol, opening.reason)


def _decide_opaque(role: Role) -> Action:
    if role in _DIALLED:
        return PASS
    if role is Role.FAR:
        return BY_ADDRESS
    return Drop("opaque", "not a proxy request")
