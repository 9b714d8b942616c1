"""The text of a host as protocols carry it, before the policy normalises it."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from .reader import BrokenError

MAX_HOST: Final = 255
"""Bytes of a host's text; RFC 1035 allows 253 and a trailing dot, SOCKS 255."""

_GRAPHIC = re.compile(rb"[!-~]+")
_NUMBER = re.compile(r"\d+|0[xX][0-9A-Fa-f]*")


def host_text(raw: bytes) -> str:
    """``raw`` as text: 1 to 255 graphic ASCII characters, else :class:`BrokenError`."""
    if len(raw) > MAX_HOST:
        raise BrokenError(f"a host is longer than {MAX_HOST} bytes")
    if not _GRAPHIC.fullmatch(raw):
        raise BrokenError("a host is empty or has bytes that are not graphic ASCII")
    return raw.decode("ascii")


def is_address(host: str) -> bool:
    """Whether some system call would take ``host`` for an address rather than for a name.

    Besides IPv6 that is everything whose last label is a number, since ``inet_aton`` takes
    ``127.1``, ``0x7f.1`` and ``2130706433`` too (the rule of the WHATWG's URL standard).
    """
    return ":" in host or bool(_NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]))


def is_ipv6(text: str) -> bool:
    """Whether ``text`` is an IPv6 address without a zone (RFC 4291 2.2)."""
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return "%" not in text
