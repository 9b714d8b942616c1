"""``resolv.conf`` as the C library reads it (resolv.conf(5)); tolerant, as that one is."""

import ipaddress
from typing import Final, NamedTuple

NAMESERVER_LIMIT: Final = 3
"""The C library uses the first three and no more (MAXNS)."""
_OPTION_LIMITS: Final = {"ndots": 15, "timeout": 30, "attempts": 5}


class ResolvConf(NamedTuple):
    """What a ``resolv.conf`` says; the C library's defaults where it says nothing."""

    nameservers: tuple[str, ...] = ()
    """Addresses, a zone index (``%eth0``) kept; port 53 is meant."""
    search: tuple[str, ...] = ()
    """Lower case, without the last dot; ``domain`` is a list of one."""
    ndots: int = 1
    timeout: int = 5
    """Seconds."""
    attempts: int = 2

    @property
    def loopback(self) -> tuple[str, ...]:
        """Those nameservers that are a stub on this very machine (127.0.0.53 and its like)."""
        return tuple(address for address in self.nameservers if _is_loopback(address))


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _search(words: list[str]) -> tuple[str, ...]:
    names = (word.lower().removesuffix(".") for word in words)
    return tuple(name for name in names if name)


def _options(words: list[str], values: dict[str, int]) -> None:
    for word in words:
        key, _, value = word.partition(":")
        if key in _OPTION_LIMITS and value.isascii() and value.isdigit():
            values[key] = min(int(value[:9]), _OPTION_LIMITS[key])


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read the text of a ``resolv.conf``.

    As in the C library the last ``domain`` or ``search`` line wins, numbers are capped, and
    what cannot be understood is passed over.
    """
    nameservers: list[str] = []
    search: tuple[str, ...] = ()
    values: dict[str, int] = {}
    for line in text.splitlines():
        if line[:1] in ("#", ";"):
            continue
        keyword, *words = line.split() or [""]
        if keyword == "nameserver" and words and _is_address(words[0]):
            nameservers.append(words[0])
        elif keyword in ("search", "domain"):
            search = _search(words if keyword == "search" else words[:1])
        elif keyword == "options":
            _options(words, values)
    return ResolvConf(tuple(nameservers[:NAMESERVER_LIMIT]), search, **values)
