"""Compile a document into one flat blob that is used where it lies."""

from array import array
from zlib import crc32

from ramnet.errors import PolicyError
from ramnet.policy.document import Document, Entry
from ramnet.policy.layout import (
    BYTE_ORDER,
    DENIED,
    ENABLED,
    FORMAT,
    HAS_SOURCE,
    HEAD_CRC,
    HEAD_CRC_AT,
    HEADER,
    HEAP_START,
    LOCAL,
    MAGIC,
    MAX_DEPTH,
    RECORD,
    SPREAD,
    head_crc,
)
from ramnet.policy.pattern import Kind
from ramnet.policy.presets import PresetUse, use_preset

MAX_CHAIN = 256
"""Entries that may share a base name; more would let a look-up grow with the policy."""

_LIMIT = 0xFFFF_FFFF


class IndexBuilder:
    """Hash table and heap under construction, for at most ``expected`` entries."""

    def __init__(self, expected: int) -> None:
        size = 1 << max(3, (2 * expected - 1).bit_length())
        self._mask = size - 1
        self._table = array("Q", bytes(8 * size))
        self._heap = bytearray(HEAP_START)
        self._origins: dict[str, int] = {"": 0}
        self._globs: set[tuple[str, int, int]] = set()
        self._at_name = bytearray(MAX_DEPTH + 1)
        self._below = bytearray(MAX_DEPTH + 1)
        self._wild = bytearray(MAX_DEPTH + 1)
        self.count = 0
        self.longest_probe = 1

    def add(self, entry: Entry, origin: str = "") -> bool:
        """Take one entry in; False where it matches nothing or is there already.

        Raises:
            PolicyError: more than ``MAX_CHAIN`` entries for one name, or over 4 GiB in all.
        """
        kind = entry.kind
        if kind == Kind.ADDRESS:
            return False
        flags = (0 if entry.allowed else DENIED) | (LOCAL if entry.local else 0)
        glob = b""
        key = entry.base.encode()
        if kind == Kind.GLOB:
            identity = (entry.glob, entry.port, flags)
            if identity in self._globs:
                return False
            self._globs.add(identity)
            glob, key = entry.glob.encode(), b"*" + key
        slot, first = self._place(key)
        if first and not glob and self._listed(first, entry.port, kind, flags):
            return False
        self._mark_depth(kind, entry.base)
        self._append(slot, first, key, glob, (entry.port, kind, flags), origin)
        return True

    def _place(self, key: bytes) -> tuple[int, int]:
        """Return the key's slot, and its first record or 0 where the slot is free."""
        tag = crc32(key)
        table, mask = self._table, self._mask
        home = slot = (tag * SPREAD >> 16) & mask
        while entry := table[slot]:
            if entry >> 32 == tag and self._key_at(entry & _LIMIT) == key:
                return slot, entry & _LIMIT
            slot = (slot + 1) & mask
        self.longest_probe = max(self.longest_probe, ((slot - home) & mask) + 1)
        table[slot] = tag << 32
        return slot, 0

    def _key_at(self, offset: int) -> bytes:
        start = offset + RECORD.size
        return bytes(self._heap[start : start + self._heap[start - 2]])

    def _listed(self, offset: int, port: int, kind: int, flags: int) -> bool:
        """Whether the chain holds this very entry; a chain is short, or it is refused."""
        length = 0
        while offset:
            following, _, *same = RECORD.unpack_from(self._heap, offset)
            if same[:3] == [port, kind, flags]:
                return True
            offset, length = following, length + 1
        if length >= MAX_CHAIN:
            raise PolicyError(
                f"more than {MAX_CHAIN} entries differ only in their port; leave the port out"
            )
        return False

    def _append(
        self,
        slot: int,
        first: int,
        key: bytes,
        glob: bytes,
        what: tuple[int, int, int],
        origin: str,
    ) -> None:
        source = self._origin(origin)
        offset = len(self._heap)
        if offset > _LIMIT - 1024:
            raise PolicyError("the compiled policy would be larger than 4 GiB")
        self._heap += RECORD.pack(first, source, *what, len(key), len(glob)) + key + glob
        self._table[slot] = self._table[slot] >> 32 << 32 | offset
        self.count += 1

    def _origin(self, origin: str) -> int:
        """Write an origin's text once; return its offset."""
        offset = self._origins.get(origin)
        if offset is None:
            offset = self._origins[origin] = len(self._heap)
            text = origin.encode()
            self._heap += bytes([len(text)]) + text
        return offset

    def _mark_depth(self, kind: int, base: str) -> None:
        depth = base.count(".") + 1 if base else 0
        if kind == Kind.GLOB:
            self._wild[depth] = 1
            return
        if kind in (Kind.EXACT, Kind.DOMAIN):
            self._at_name[depth] = 1
        if kind != Kind.EXACT:
            self._below[depth] = 1

    def finish(self, document: Document) -> bytes:
        """Put header, texts, table and heap together."""
        organization, contact = document.organization.encode(), document.contact.encode()
        texts = organization + contact
        texts += bytes(-(HEADER.size + len(texts)) % 8)
        offset = HEADER.size + len(texts)
        head = bytearray(
            HEADER.pack(
                MAGIC,
                FORMAT,
                BYTE_ORDER,
                (ENABLED if document.enabled else 0) | (HAS_SOURCE if document.digest else 0),
                0,
                crc32(self._heap, crc32(self._table)),
                offset + 8 * len(self._table) + len(self._heap),
                document.version,
                self.count,
                len(self._table),
                offset,
                self.longest_probe,
                len(organization),
                len(contact),
                bytes.fromhex(document.digest),
                bytes(self._at_name),
                bytes(self._below),
                bytes(self._wild),
            )
        )
        head += texts
        HEAD_CRC.pack_into(head, HEAD_CRC_AT, head_crc(bytes(head)))
        return b"".join((head, self._table, self._heap))


def preset_uses(document: Document) -> list[tuple[PresetUse, str]]:
    """Return the presets in force, each with the origin that a verdict names."""
    uses = [(use_preset(text), f"preset {text}") for text in dict.fromkeys(document.presets)]
    if document.docker_hub:
        uses.append((use_preset("docker-hub"), "docker_hub"))
    return uses


def compile_policy(document: Document) -> bytes:
    """Compile ``document`` into the blob that ``Policy`` reads.

    Raises:
        PolicyError: more entries than the format holds.
    """
    uses = preset_uses(document)
    expected = sum(len(use.hosts) + len(use.redirects) for use, _ in uses)
    builder = IndexBuilder(len(document.entries) + expected)
    try:
        for entry in document.entries:
            builder.add(entry)
        for use, origin in uses:
            for pattern in use.patterns():
                builder.add(Entry.of(pattern), origin)
    except PolicyError as error:
        raise PolicyError(f"{document.source}: {error}") from None
    return builder.finish(document)
