"""The bytes of a compiled policy: what ``index`` writes and ``decision`` reads.

::

    header | organization, contact, ports | hash table | heap of records

The table is an open-addressed array of 64-bit slots, a power of two and at most half
full: high half the key's hash, low half its first record's offset in the heap, 0 for
none. Records of one key are chained from the last to the first written, so an offset
always falls along a chain and no damage can make one endless.

Keys are the base names of patterns as ASCII. Patterns with a wildcard inside have a
table key of their own, ``*`` and the base, since they alone must be tried one by one.

The hash is CRC-32: 0.1 us where a keyed hash takes 1 us, the same in every process,
and safe here, since keys come from the administrator and every hit is compared in full.
"""

from struct import Struct
from typing import Final
from zlib import crc32

MAGIC: Final = b"ramnetPB"
FORMAT: Final = 2
BYTE_ORDER: Final = 0x0102
"""Written in native order: a blob is read on the kind of machine that made it."""

ENABLED: Final = 1
"""Header flag: the policy restricts; without it everything is allowed."""
HAS_SOURCE: Final = 2
"""Header flag: the digest is that of a document."""

AUDIT: Final = 4
"""Header flag: ``enforce = false``; where it is missing the policy is enforced."""

HEADER: Final = Struct("=8sHHIIIQQQQIIHHHxx32s128s128s128s")
"""magic, format, byte order, flags, crc of head, crc of body, length, version, entries,
slots, table offset, longest probe, length of organization, length of contact, number of ports,
digest,
and for each number of labels 0 to 127 whether a key of that depth can match the name
itself, a name below it, or holds wildcard patterns."""

RECORD: Final = Struct("=IIHBBBB")
"""next record of the key, offset of the origin's text (0 for the document itself), port,
kind, flags, length of key, length of the wildcard pattern; both texts follow."""

DENIED: Final = 1
"""Record flag: ``allowed = false``."""
LOCAL: Final = 2
"""Record flag: ``local = true``."""

HEAD_CRC_AT: Final = 16
HEAD_CRC: Final = Struct("=I")
HEAP_START: Final = 8
"""Offset of the first record, so that 0 means none."""

PORT: Final = Struct("=H")
MAX_PORTS: Final = 100
"""Ports that entries name, the lowest of them where there are more."""

MAX_DEPTH: Final = 127
"""Most labels a name of 253 octets can have."""

SPREAD: Final = 0x9E3779B1
"""Knuth's multiplier; a key's search begins at slot ``(hash * SPREAD >> 16) & mask``, so
that names that differ in a digit land apart."""


def head_crc(head: bytes) -> int:
    """Checksum of header and texts, its own field taken as zero."""
    return crc32(head[HEAD_CRC_AT + 4 :], crc32(head[:HEAD_CRC_AT]))
