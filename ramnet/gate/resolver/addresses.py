"""Which addresses may never be given for a name, however it was resolved.

A registry that resolves to loopback is spoken to without TLS verification by dockerd, and a
name that resolves to ourselves would have the gate dial the gate.
"""

import socket
from collections.abc import Iterable
from typing import Final

LOOPBACK: Final = "loopback"
LINK_LOCAL: Final = "link-local"
OWN: Final = "an address of this machine"
SINKHOLE: Final = "the address of refused names"
UNSPECIFIED: Final = "unspecified"
MULTICAST: Final = "multicast"
RESERVED: Final = "reserved or broadcast"

_LOCAL: Final = frozenset((LOOPBACK, LINK_LOCAL, OWN))
"""What an entry with ``local = true`` opens."""

_TRANSLATED: Final = bytes(8) + b"\xff\xff\0\0"  # ::ffff:0:0:0/96, RFC 2765
_MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
_NAT64: Final = bytes.fromhex("0064ff9b") + bytes(8)  # 64:ff9b::/96, RFC 6052
_NAT64_LOCAL: Final = bytes.fromhex("0064ff9b0001")  # 64:ff9b:1::/48, RFC 8215
_SIX_TO_FOUR: Final = bytes.fromhex("2002")  # RFC 3056
_TEREDO: Final = bytes.fromhex("20010000")  # RFC 4380 section 4


def pack(text: str) -> bytes:
    """An address in network order; an IPv4-mapped one as IPv4. Raises ValueError or OSError."""
    if ":" not in text:
        return socket.inet_pton(socket.AF_INET, text)
    packed = socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    return packed[12:] if packed.startswith(_MAPPED) else packed


def unpack(packed: bytes) -> str:
    """Text of a packed address."""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _embedded(packed: bytes) -> Iterable[bytes]:
    """The IPv4 addresses that an IPv6 address leads to by a mechanism of transition."""
    head = packed[:12]
    if head in (bytes(12), _MAPPED, _TRANSLATED, _NAT64):
        yield packed[12:]
    elif packed.startswith(_NAT64_LOCAL):
        yield packed[12:]
        yield packed[6:8] + packed[9:11]
    elif packed.startswith(_SIX_TO_FOUR):
        yield packed[2:6]
    elif packed.startswith(_TEREDO):
        yield packed[4:8]
        yield bytes(octet ^ 0xFF for octet in packed[12:])


def _unfit4(packed: bytes) -> str | None:
    first, second = packed[0], packed[1]
    if first == 127:
        return LOOPBACK
    if first == 0:
        return UNSPECIFIED
    if first == 169 and second == 254:
        return LINK_LOCAL
    if first >= 224:
        return MULTICAST if first < 240 else RESERVED
    return None


def _unfit6(packed: bytes) -> str | None:
    if not any(packed[:15]) and packed[15] < 2:
        return LOOPBACK if packed[15] else UNSPECIFIED
    if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
        return LINK_LOCAL
    return MULTICAST if packed[0] == 0xFF else None


class AddressRules:
    """Judges addresses by what they are and by what this machine has."""

    def __init__(self, own: Iterable[str] = (), sinkholes: Iterable[str | None] = ()) -> None:
        self.own = frozenset(pack(address) for address in own)
        self.sinkholes = frozenset(pack(address) for address in sinkholes if address)

    @property
    def has_global_ipv6(self) -> bool:
        """Whether an IPv6 address beyond loopback and link-local is among our own."""
        return any(len(address) == 16 and not _unfit6(address) for address in self.own)

    def unfit(self, packed: bytes, *, local: bool) -> str | None:
        """Why the address is not to be given or dialled, or None.

        ``local`` is the administrator's word that the name may be on this machine; it never
        opens what no service can have, nor the sinkhole.
        """
        reason = self._unfit(packed)
        return None if local and reason in _LOCAL else reason

    def _unfit(self, packed: bytes) -> str | None:
        if packed in self.sinkholes:
            return SINKHOLE
        if reason := _unfit4(packed) if len(packed) == 4 else _unfit6(packed):
            return reason
        if packed in self.own:
            return OWN
        reasons = (self._unfit(four) for four in _embedded(packed)) if len(packed) == 16 else ()
        return next((reason for reason in reasons if reason), None)
