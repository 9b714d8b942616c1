"""Compile a document into one flat blob that is used where it lies."""

from array import array
from collections.abc import Iterator
from zlib import crc32

from ramnet.errors import PolicyError
from ramnet.policy.document import Document
from ramnet.policy.entry import Entry
from ramnet.policy.layout import (
    AUDIT,
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
    MAX_PORTS,
    PORT,
    RECORD,
    SPREAD,
    head_crc,
)
from ramnet.policy.pattern import Kind
from ramnet.policy.presets import PresetUse, use_preset
from ramnet.policy.reader import HUB

MAX_CHAIN = 256
"""Entries that may share a base name; more would let a look-up grow with the policy."""

_LIMIT = 0xFFFF_FFFF
_MARGIN = 1024  # more than one record
_ADDRESS = Kind.ADDRESS
_pack = RECORD.pack


class IndexBuilder:
    """Hash table and heap under construction, for at most ``expected`` entries."""

    def __init__(self, expected: int) -> None:
        size = 1 << max(3, (2 * expected - 1).bit_length())
        self._mask = size - 1
        self._table = array("Q", bytes(8 * size))
        self._heap = bytearray(HEAP_START)
        self._origins: dict[str, int] = {"": 0}
        self._globs: set[tuple[str, int, int]] = set()
        self._kinds: set[tuple[int, int]] = set()  # kind and labels of each key
        self._longest_probe = 1
        self._ports: set[int] = set()
        self.count = 0

    def add(self, entry: Entry, origin: str = "") -> bool:
        """Take one entry in; False where it matches nothing or is there already.

        Raises:
            PolicyError: more than ``MAX_CHAIN`` entries for one name, or over 4 GiB in all.
        """
        kind = entry.kind
        if kind == _ADDRESS:
            return False
        key = entry.base.encode()
        glob = entry.glob.encode()
        flags = (0 if entry.allowed else DENIED) | (LOCAL if entry.local else 0)
        if glob:
            key = b"*" + key
            known = len(self._globs)
            self._globs.add((entry.glob, entry.port, flags))
            if len(self._globs) == known:
                return False
        slot, first = self._place(key)
        if first and not glob and self._listed(first, entry.port, kind, flags):
            return False
        offset = len(self._heap)
        source = self._origins.get(origin)
        if source is None:
            source, offset = offset, self._write_origin(origin)
        if offset > _LIMIT - _MARGIN:
            raise PolicyError("the compiled policy would be larger than 4 GiB")
        self._heap += (
            _pack(first, source, entry.port, kind, flags, len(key), len(glob)) + key + glob
        )
        self._table[slot] = crc32(key) << 32 | offset
        if entry.port:
            self._ports.add(entry.port)
        self._kinds.add((kind, key.count(b".") + (key != b"*")))
        self.count += 1
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
        if (slot - home) & mask >= self._longest_probe:
            self._longest_probe = ((slot - home) & mask) + 1
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

    def _write_origin(self, origin: str) -> int:
        """Write an origin's text once; return the offset behind it."""
        self._origins[origin] = len(self._heap)
        text = origin.encode()
        self._heap += bytes([len(text)]) + text
        return len(self._heap)

    def _depths(self) -> tuple[bytes, bytes, bytes]:
        """Return by number of labels: is there a key for the name itself, below it, a glob."""
        at_name, below, wild = (bytearray(MAX_DEPTH + 1) for _ in range(3))
        for kind, depth in self._kinds:
            if kind == Kind.GLOB:
                wild[depth] = 1
            if kind in (Kind.EXACT, Kind.DOMAIN):
                at_name[depth] = 1
            if kind in (Kind.ONE, Kind.BELOW, Kind.DOMAIN):
                below[depth] = 1
        return bytes(at_name), bytes(below), bytes(wild)

    def finish(self, document: Document) -> tuple[bytes, "array[int]", bytearray]:
        """Return header with texts, table and heap: the blob's parts, in order."""
        organization, contact = document.organization.encode(), document.contact.encode()
        ports = sorted(self._ports)[:MAX_PORTS]
        texts = organization + contact + b"".join(map(PORT.pack, ports))
        texts += bytes(-(HEADER.size + len(texts)) % 8)
        offset = HEADER.size + len(texts)
        head = bytearray(
            HEADER.pack(
                MAGIC,
                FORMAT,
                BYTE_ORDER,
                _flags(document),
                0,
                crc32(self._heap, crc32(self._table)),
                offset + 8 * len(self._table) + len(self._heap),
                document.version,
                self.count,
                len(self._table),
                offset,
                self._longest_probe,
                len(organization),
                len(contact),
                len(ports),
                bytes.fromhex(document.digest),
                *self._depths(),
            )
        )
        head += texts
        HEAD_CRC.pack_into(head, HEAD_CRC_AT, head_crc(bytes(head)))
        return bytes(head), self._table, self._heap


def _given_up(entries: list[Entry]) -> Iterator[Entry]:
    entries.reverse()
    while entries:
        yield entries.pop()


def _flags(document: Document) -> int:
    return (
        (ENABLED if document.enabled else 0)
        | (HAS_SOURCE if document.digest else 0)
        | (0 if document.enforce else AUDIT)
    )


def preset_uses(document: Document) -> list[tuple[PresetUse, str]]:
    """Return the presets in force, each with the origin that a verdict names."""
    uses = [(use_preset(text), f"preset {text}") for text in dict.fromkeys(document.presets)]
    if document.docker_hub:
        uses.append((use_preset("docker-hub"), HUB))
    return uses


def compile_policy(document: Document) -> bytes:
    """Compile ``document`` into the blob that ``Policy`` reads.

    Raises:
        PolicyError: more entries than the format holds.
    """
    return b"".join(compile_parts(document))


def compile_parts(
    document: Document, *, consume: bool = False
) -> tuple[bytes, "array[int]", bytearray]:
    """``compile_policy`` without joining the parts: half the memory for a writer.

    ``consume``: the document's entries go as they are compiled, so that a million of them and
    what they become are not held together.
    """
    uses = preset_uses(document)
    expected = sum(len(use.hosts) for use, _ in uses)
    builder = IndexBuilder(len(document.entries) + expected)
    try:
        for entry in _given_up(document.entries) if consume else document.entries:
            builder.add(entry)
        for use, origin in uses:
            for pattern in use.patterns():
                builder.add(Entry.of(pattern), origin)
    except PolicyError as error:
        raise PolicyError(f"{document.source}: {error}") from None
    return builder.finish(document)
