"""Domain names: wire form, in which they are compared, and text, in which they are decided."""

from collections.abc import Iterator
from typing import Final

NAME_LIMIT: Final = 255
"""Octets of a name with its length octets and the root label (RFC 1035 section 3.1)."""
LABEL_LIMIT: Final = 63

_PLAIN: Final = frozenset(range(0x21, 0x7F)) - {ord("."), ord("\\")}
_PLAIN_OCTETS: Final = bytes(sorted(_PLAIN))


def _labels(name: bytes) -> Iterator[bytes]:
    at = 0
    while length := name[at]:
        yield name[at + 1 : at + 1 + length]
        at += 1 + length


def to_text(name: bytes) -> str | None:
    """Dotted text of a well-formed wire name, without the last dot.

    None for the root, and where a label holds a dot, a backslash, a space or anything that is
    not printable ASCII: such a name has no text that could not be taken for another one's.
    """
    labels = list(_labels(name))
    if not labels or b"".join(labels).translate(None, _PLAIN_OCTETS):
        return None
    return b".".join(labels).decode("ascii")


def display(name: bytes) -> str:
    """Text for people and logs; what cannot be shown is escaped (RFC 1035 section 5.1)."""
    shown = (
        "".join(chr(octet) if octet in _PLAIN else f"\\{octet:03d}" for octet in label)
        for label in _labels(name)
    )
    return ".".join(shown) or "."


def from_text(name: str) -> bytes:
    """Wire form, lower case, of a dotted ASCII name. Raises ValueError where it has none."""
    labels = name.lower().removesuffix(".").encode("ascii").split(b".")
    if not all(0 < len(label) <= LABEL_LIMIT for label in labels):
        raise ValueError(f"{name!r} has an empty or over-long label")
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(wire) > NAME_LIMIT:
        raise ValueError(f"{name!r} is longer than {NAME_LIMIT} octets")
    return wire


def parent_names(name: bytes) -> Iterator[bytes]:
    """The wire name itself, then each name above it, the root last."""
    at = 0
    while length := name[at]:
        yield name[at:]
        at += 1 + length
    yield b"\0"
