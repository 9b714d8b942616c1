"""The first message of a TLS connection: which name, which protocols, and whether ECH is used.

Reads the ClientHello of RFC 8446 4.1.2 (and of every older version since SSL 3.0, whose layout
is the same) out of the record layer of RFC 8446 5.1. Nothing of it is consumed or changed.
"""

from dataclasses import dataclass
from struct import Struct, unpack
from typing import Final

from .name import host_text, is_address
from .reader import BrokenError, Reader
from .result import ABSENT, Absent, Malformed, NeedMore

MAX_HELLO: Final = 65536
"""Bytes of one ClientHello; the RFC's 2**24 is more than anyone may make the gate hold."""

MAX_RECORDS: Final = 32
"""Records over which one ClientHello may be spread."""

ACCESS_DENIED: Final = 49
"""The alert that says "you may not" (RFC 8446 6.2)."""

_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_MAX_FRAGMENT = 1 << 14
_EXTENSION_HEADER = Struct("!HH")
_HANDSHAKE = 22
_CONTENT_TYPES = range(20, 25)
_CLIENT_HELLO = 1
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS, _ECH = 0, 16, 43, 0xFE0D


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says in the clear before its connection is encrypted."""

    server_name: str | Absent
    """The one ``host_name`` of RFC 6066 3 as it was sent, not normalised; never an address."""
    alpn: tuple[bytes, ...] | Absent
    """Application protocols in the client's order (RFC 7301)."""
    ech: bool
    """An outer ``encrypted_client_hello`` is there (RFC 9849), real or GREASE alike."""
    versions: tuple[int, ...]
    """Protocol versions offered, such as 0x0304; GREASE (RFC 8701) left out."""
    length: int
    """Bytes from the beginning of the stream to the end of the ClientHello, headers included."""


def read_client_hello(data: bytes | memoryview) -> ClientHello | NeedMore | Malformed | Absent:
    """Read the ClientHello at the beginning of ``data``, all that a client has sent so far.

    ``ABSENT`` says that no TLS server would take this for TLS. Malformed are, besides broken
    lengths: an SSLv2-compatible hello (it has no name, and OpenSSL still answers it) and any
    other TLS record before the hello (Go and OpenSSL skip a warning alert there).
    """
    view = memoryview(data)
    try:
        verdict = _recognise(view)
        if verdict is not None:
            return verdict
        gathered = _gather(view)
        if isinstance(gathered, NeedMore):
            return gathered
        return _parse(*gathered)
    except BrokenError as broken:
        return Malformed(str(broken))


def alert(description: int) -> bytes:
    """A fatal TLS alert as one unencrypted record (RFC 8446 6); ``description`` is 0 to 255."""
    return bytes((21, 3, 3, 0, 2, 2, description))


def _recognise(view: memoryview) -> NeedMore | Absent | None:
    """What the first bytes alone say; None for the beginning of a handshake record."""
    if not view:
        return NeedMore(1)
    if view[0] & 0x80:
        return _recognise_sslv2(view)
    if view[0] not in _CONTENT_TYPES:
        return ABSENT
    if len(view) < 2:
        return NeedMore(2)
    if view[0] == _HANDSHAKE:
        return None
    # Go takes any record version below 0x1000 for TLS as long as none is agreed.
    if view[1] >= 0x10:
        return ABSENT
    raise BrokenError("a TLS record that is no handshake comes first")


def _recognise_sslv2(view: memoryview) -> NeedMore | Absent:
    """An SSLv2 CLIENT-HELLO: two bytes of length, type 1, then version 2 or 3.x."""
    if len(view) > 2 and view[2] != _CLIENT_HELLO:
        return ABSENT
    if len(view) > 3 and view[3] not in (0, 3):
        return ABSENT
    if len(view) < 5:
        return NeedMore(len(view) + 1 if len(view) > 2 else 3)
    if view[3] == 0 and view[4] != 2:
        return ABSENT
    raise BrokenError("an SSLv2 ClientHello carries no server name")


def _gather(view: memoryview) -> tuple[bytes, int] | NeedMore:
    """The body of the ClientHello put together from its records, and where it ends."""
    message = bytearray()
    at = 0
    for _ in range(MAX_RECORDS):
        start = at + _RECORD_HEADER
        if len(view) < start:
            return NeedMore(start)
        size = _fragment_size(view[at:start])
        fragment = view[start : start + size]
        message += fragment
        missing = _message_size(message) - len(message)
        if missing <= 0:
            whole = len(message) + missing
            return bytes(message[_MESSAGE_HEADER:whole]), start + len(fragment) + missing
        if len(fragment) < size:
            return NeedMore(min(start + size, len(view) + missing))
        at = start + size
    raise BrokenError(f"the ClientHello is spread over more than {MAX_RECORDS} records")


def _fragment_size(header: memoryview) -> int:
    if header[0] != _HANDSHAKE:
        raise BrokenError("another record stands inside the ClientHello")
    if header[1] != 3:
        raise BrokenError("the version of the TLS record is not 3.x")
    size = header[3] << 8 | header[4]
    if not 0 < size <= _MAX_FRAGMENT:
        raise BrokenError("a handshake record is empty or longer than 16384 bytes")
    return size


def _message_size(message: bytearray) -> int:
    """Bytes of the whole message, or of its header where that is not all there."""
    if message and message[0] != _CLIENT_HELLO:
        raise BrokenError("the first handshake message is not a ClientHello")
    if len(message) < _MESSAGE_HEADER:
        return _MESSAGE_HEADER
    size = int.from_bytes(message[1:_MESSAGE_HEADER], "big")
    if size > MAX_HELLO:
        raise BrokenError(f"the ClientHello is longer than {MAX_HELLO} bytes")
    return _MESSAGE_HEADER + size


def _parse(body: bytes, length: int) -> ClientHello:
    reader = Reader(body)
    legacy_version = reader.uint(2)
    if legacy_version >> 8 != 3:
        raise BrokenError("the version of the ClientHello is not 3.x")
    reader.take(32)
    if len(reader.vector(1)) > 32:
        raise BrokenError("the session id is longer than 32 bytes")
    cipher_suites = reader.vector(2)
    if not cipher_suites or len(cipher_suites) % 2:
        raise BrokenError("the list of cipher suites is empty or cut")
    if not reader.vector(1):
        raise BrokenError("the list of compression methods is empty")
    extensions = _read_extensions(reader.vector(2)) if reader else {}
    reader.finish()
    return ClientHello(
        server_name=_server_name(extensions.get(_SERVER_NAME)),
        alpn=_protocols(extensions.get(_ALPN)),
        ech=_is_outer(extensions.get(_ECH)),
        versions=_versions(extensions.get(_SUPPORTED_VERSIONS)) or (legacy_version,),
        length=length,
    )


def _read_extensions(data: bytes) -> dict[int, bytes]:
    """By type. Without a ``Reader``: every connection comes here with a dozen of them."""
    extensions: dict[int, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        start = at + _EXTENSION_HEADER.size
        if start > end:
            raise BrokenError("an extension is cut off")
        kind, size = _EXTENSION_HEADER.unpack_from(data, at)
        at = start + size
        if at > end:
            raise BrokenError("an extension is longer than what holds it")
        if kind in extensions:
            raise BrokenError(f"extension {kind} is there twice")
        extensions[kind] = data[start:at]
    return extensions


def _server_name(content: bytes | None) -> str | Absent:
    """RFC 6066 3; of the name types only ``host_name`` was ever defined, once per list."""
    if content is None:
        return ABSENT
    outer = Reader(content)
    names = Reader(outer.vector(2))
    outer.finish()
    if names.uint(1) != 0:
        raise BrokenError("the server name is of an unknown type")
    name = host_text(names.vector(2))
    if names:
        raise BrokenError("there is more than one server name")
    if is_address(name):
        raise BrokenError("the server name is an address")
    return name


def _protocols(content: bytes | None) -> tuple[bytes, ...] | Absent:
    if content is None:
        return ABSENT
    outer = Reader(content)
    names = Reader(outer.vector(2))
    outer.finish()
    protocols = []
    while names:
        protocols.append(names.vector(1))
    if not all(protocols) or not protocols:
        raise BrokenError("the list of application protocols is empty or has an empty name")
    return tuple(protocols)


def _versions(content: bytes | None) -> tuple[int, ...]:
    if content is None:
        return ()
    outer = Reader(content)
    listed = outer.vector(1)
    outer.finish()
    if not listed or len(listed) % 2:
        raise BrokenError("the list of supported versions is empty or cut")
    offered = unpack(f"!{len(listed) // 2}H", listed)
    return tuple([version for version in offered if version & 0x0F0F != 0x0A0A])


def _is_outer(content: bytes | None) -> bool:
    if content is None:
        return False
    if content[:1] not in (b"\0", b"\1"):
        raise BrokenError("the encrypted ClientHello is of an unknown type")
    return content[0] == 0
