"""The authority of a URI as HTTP uses it: a host and perhaps a port, never a user."""

import re

from .name import host_text, is_ipv6
from .reader import BrokenError

_AUTHORITY = re.compile(
    rb"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>\d{1,5}))?"
)


def read_authority(raw: bytes) -> tuple[str, int | None]:
    """Split ``raw`` into a host (IPv6 without brackets) and a port (1 to 65535).

    Stricter than RFC 3986 3.2: no percent-encoding and no sub-delimiters in the host, no empty
    port and no zone, since programs differ in what they make of those.
    """
    if b"@" in raw:
        raise BrokenError("a user stands before the host")
    match = _AUTHORITY.fullmatch(raw)
    if not match:
        raise BrokenError("the host or its port is malformed")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port <= 0xFFFF:
        raise BrokenError("the port is out of range")
    host = host_text(match["name"] or match["v6"])
    if match["name"] is None and not is_ipv6(host):
        raise BrokenError("what stands in brackets is not an IPv6 address")
    return host, port


def write_authority(host: str, port: int | None) -> bytes:
    """The text of an authority, IPv6 in brackets."""
    text = f"[{host}]" if ":" in host else host
    return (text if port is None else f"{text}:{port}").encode("ascii")
