"""Read a compiled policy where it lies, trusting none of its offsets.

Opening looks at the header alone, so it takes as long for a million entries as for ten;
``verify`` reads it all. Whatever the bytes are, a look-up ends, stays within them, and
gives an answer or ``PolicyError``.
"""

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from ramnet.errors import PolicyError
from ramnet.policy.layout import (
    BYTE_ORDER,
    FORMAT,
    HEADER,
    HEAP_START,
    MAGIC,
    PORT,
    RECORD,
    SPREAD,
    head_crc,
)
from ramnet.policy.name import MAX_NAME
from ramnet.policy.pattern import Kind, pattern_text

if TYPE_CHECKING:
    from mmap import mmap

HUB: Final = "docker_hub"
"""Origin of the entries that are there by default."""

GLOBS: Final = 3
"""Distance that stands for a chain of wildcard patterns."""

_unpack = RECORD.unpack_from
_LOW: Final = 0xFFFF_FFFF
_ENOUGH: Final = 2  # from two labels in front of a base on, the distance makes no difference


class Record(NamedTuple):
    """One entry as it lies at ``offset`` of the heap; ``port`` 0 is every port."""

    offset: int
    origin: int
    port: int
    kind: int
    flags: int
    base: str
    glob: str


def entry_text(kind: int, base: str, port: int, glob: str) -> str:
    """An entry as a verdict names it, such as ``corp.example:443 (domain)``."""
    text = pattern_text(kind, base, port, glob)
    return f"{text} (domain)" if kind == Kind.DOMAIN else text


class Reader:
    """The header's fields, and the look-up of a name's candidate entries."""

    def __init__(self, buffer: "bytes | bytearray | memoryview | mmap") -> None:
        view = memoryview(buffer).cast("B").toreadonly()
        if len(view) < HEADER.size or bytes(view[:8]) != MAGIC:
            raise PolicyError("this is not a compiled policy")
        (
            _, form, order, self.flags, crc, self._body_crc, length, self.version, self.count,
            slots, table, self._probes, organization, contact, ports, self.digest,
            self._at_name, self._below, self._wild,
        ) = HEADER.unpack_from(view)  # fmt: skip
        if (form, order) != (FORMAT, BYTE_ORDER):
            raise PolicyError(f"a compiled policy of another format ({form:#06x}, {order:#06x})")
        heap = table + 8 * slots
        if not (
            HEADER.size + organization + contact + PORT.size * ports <= table
            and 0 < slots == slots & -slots
            and heap + HEAP_START <= length == len(view)
            and head_crc(bytes(view[:table])) == crc
        ):
            raise PolicyError("the compiled policy is damaged")
        texts = bytes(view[HEADER.size : table])
        self.organization = texts[:organization].decode("utf-8", "replace")
        end = organization + contact
        self.contact = texts[organization:end].decode("utf-8", "replace")
        listed = texts[end : end + PORT.size * ports]
        self.ports = frozenset(port for (port,) in PORT.iter_unpack(listed))
        self._slots = view[table:heap].cast("Q")
        self._heap = view[heap:]
        self._mask = slots - 1

    def verify(self) -> None:
        """Check every byte against the checksum made at compile time.

        Raises:
            PolicyError: a byte is not what was compiled.
        """
        if crc32(self._heap, crc32(self._slots)) != self._body_crc:
            raise PolicyError("the compiled policy is damaged")

    def candidates(self, name: str) -> list[tuple[int, int]]:
        """Return the chains that may hold a match for ``name``.

        Each is a first record's offset and the number of labels in front of its base,
        0, 1 or 2 for more; ``GLOBS`` for wildcard patterns.

        Raises:
            PolicyError: the blob is damaged.
        """
        found: list[tuple[int, int]] = []
        try:
            key = name.encode("ascii")
        except UnicodeEncodeError:
            return found
        if len(key) > MAX_NAME:
            return found
        find, below, wild = self.find, self._below, self._wild
        depth = key.count(b".") + 1
        if self._at_name[depth] and (offset := find(key)):
            found.append((offset, 0))
        start = key.find(b".") + 1
        distance = 1
        while start:
            depth -= 1
            if below[depth] and (offset := find(key[start:])):
                found.append((offset, distance))
            if wild[depth] and (offset := find(b"*" + key[start:])):
                found.append((offset, GLOBS))
            distance = _ENOUGH
            start = key.find(b".", start) + 1
        if wild[0] and (offset := find(b"*")):
            found.append((offset, GLOBS))
        return found

    def find(self, key: bytes) -> int:
        """Return the offset of the first record of ``key``, 0 where there is none."""
        tag = crc32(key)
        slots, mask = self._slots, self._mask
        slot = (tag * SPREAD >> 16) & mask
        for _ in range(self._probes):
            entry: int = slots[slot]
            if not entry:
                return 0
            if entry >> 32 == tag and self._key_at(entry & _LOW) == key:
                return entry & _LOW
            slot = (slot + 1) & mask
        return 0

    def simple(self, offset: int) -> tuple[int, int, str] | None:
        """Kind, flags and base of a record that is alone with its key, from the document itself,
        for every port and without a wildcard pattern; None for any other.

        Raises:
            PolicyError: the blob is damaged.
        """
        try:
            following, origin, port, kind, flags, key, glob = _unpack(self._heap, offset)
            if following or origin or port or glob:
                return None
            start = offset + RECORD.size
            return kind, flags, str(self._heap[start : start + key], "ascii")
        except (struct.error, UnicodeDecodeError):
            raise PolicyError("the compiled policy is damaged") from None

    def records(self, offset: int) -> Iterator[Record]:
        """Walk the chain that begins at ``offset``, the last written first.

        Raises:
            PolicyError: the blob is damaged.
        """
        try:
            while offset:
                following, origin, port, kind, flags, key, glob = RECORD.unpack_from(
                    self._heap, offset
                )
                start = offset + RECORD.size
                base = str(self._heap[start : start + key], "ascii")
                whole = str(self._heap[start + key : start + key + glob], "ascii")
                yield Record(offset, origin, port, kind, flags, base, whole)
                if following >= offset:
                    break
                offset = following
            else:
                return
        except (struct.error, UnicodeDecodeError):
            pass
        raise PolicyError("the compiled policy is damaged")

    def text(self, record: Record) -> str:
        """Name an entry as a verdict does: ``*.gcr.io (preset gcr)``, ``docker_hub``.

        Raises:
            PolicyError: the blob is damaged.
        """
        origin = self._origin(record.origin)
        if origin == HUB:
            return origin
        text = entry_text(record.kind, record.base, record.port, record.glob)
        return f"{text} ({origin})" if origin else text

    def _origin(self, offset: int) -> str:
        """Return the text of an origin, empty for the document itself."""
        if not offset:
            return ""
        try:
            length = self._heap[offset]
            return str(self._heap[offset + 1 : offset + 1 + length], "utf-8")
        except (IndexError, UnicodeDecodeError):
            raise PolicyError("the compiled policy is damaged") from None

    def _key_at(self, offset: int) -> bytes:
        """The key of the record at ``offset``; empty where that is outside the heap."""
        start = offset + RECORD.size
        if start > len(self._heap):
            return b""
        return bytes(self._heap[start : start + self._heap[start - 2]])
