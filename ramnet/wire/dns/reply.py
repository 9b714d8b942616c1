"""What an upstream answered, read with distrust: it may be lying, or not be the upstream."""

import struct
from typing import Final, NamedTuple

from ramnet.wire.dns.codes import CLASS_IN, OPCODE, QR, QTYPE, RCODE, RD, TC
from ramnet.wire.dns.names import NAME_LIMIT
from ramnet.wire.dns.question import HEADER
from ramnet.wire.result import ABSENT, Absent, Malformed

PAYLOAD: Final = 1232
"""What we take over UDP: no path to an upstream fragments it (DNS flag day 2020)."""
RECORD_LIMIT: Final = 1024
"""Records in one reply; the largest honest address sets are far below."""

_RECORD_TAIL: Final = struct.Struct("!HHIH")
_OPT: Final = struct.pack("!BHHIH", 0, QTYPE.OPT, PAYLOAD, 0, 0)
_TTL_SIGN: Final = 0x80000000

_NAMES_IN_DATA: Final[dict[int, tuple[int, int]]] = {
    # type: (octets before the first name, names), for every type whose names may be
    # compressed: RFC 1035's own and those that RFC 3597 section 4 tells receivers to expect.
    **dict.fromkeys((QTYPE.NS, 3, 4, QTYPE.CNAME, 7, 8, 9, QTYPE.PTR, 39), (0, 1)),
    **dict.fromkeys((QTYPE.SOA, 14, 17), (0, 2)),
    **dict.fromkeys((QTYPE.MX, 18, 21, 36), (2, 1)),
    26: (2, 2),
    QTYPE.SRV: (6, 1),
}
_FIXED_SIZE: Final[dict[int, int]] = {QTYPE.A: 4, QTYPE.AAAA: 16}
_WITHOUT_QUESTION: Final = (RCODE.FORMERR, RCODE.SERVFAIL, RCODE.NOTIMP, RCODE.REFUSED)


class Record(NamedTuple):
    """One resource record of class IN; names in ``data`` stand in full."""

    owner: bytes
    """Wire form, lower case."""
    type: int
    ttl: int
    data: bytes


class Reply(NamedTuple):
    """An upstream's answer to our query."""

    rcode: int
    """With the upper bits from EDNS."""
    truncated: bool
    """The records were cut off, so none were read: ask again over TCP."""
    answers: tuple[Record, ...] = ()
    authorities: tuple[Record, ...] = ()


def build_query(message_id: int, name: bytes, qtype: int, *, edns: bool = True) -> bytes:
    """A recursive query of our own; nothing of a client's message is in it but the name."""
    header = HEADER.pack(message_id, RD, 1, 0, 0, int(edns))
    question = name + struct.pack("!HH", qtype, CLASS_IN)
    return header + question + (_OPT if edns else b"")


class _BadError(Exception):
    """The message breaks a rule; never leaves this module."""


class _Cursor:
    """Reads one section after another."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def name(self) -> bytes:
        """The name at the cursor, expanded; pointers go strictly backwards."""
        data, at, start, behind, size = self.data, self.at, self.at, 0, 0
        labels = []
        while True:
            length = data[at]
            if length >= 0xC0:
                behind = behind or at + 2
                target = (length & 0x3F) << 8 | data[at + 1]
                if target >= start:
                    raise _BadError("a name points forwards")
                start = at = target
                continue
            if length > 63:
                raise _BadError("a label of unknown kind")
            labels.append(data[at : at + 1 + length])
            at += 1 + length
            size += 1 + length
            if size > NAME_LIMIT:
                raise _BadError("a name is too long")
            if not length:
                break
        self.at = behind or at
        return b"".join(labels)

    def record(self) -> tuple[Record, int]:
        """The record at the cursor, and its class."""
        owner = self.name().lower()
        rtype, rclass, ttl, size = _RECORD_TAIL.unpack_from(self.data, self.at)
        self.at += _RECORD_TAIL.size
        end = self.at + size
        if end > len(self.data):
            raise _BadError("a record is longer than the message")
        data = self._data(rtype, end)
        self.at = end
        if ttl & _TTL_SIGN and rtype != QTYPE.OPT:
            ttl = 0  # RFC 2181 section 8
        return Record(owner, rtype, ttl, data), rclass

    def _data(self, rtype: int, end: int) -> bytes:
        if _FIXED_SIZE.get(rtype, end - self.at) != end - self.at:
            raise _BadError("an address of a wrong size")
        if rtype not in _NAMES_IN_DATA:
            return self.data[self.at : end]
        before, names = _NAMES_IN_DATA[rtype]
        prefix = self.data[self.at : self.at + before]
        self.at += before
        expanded = b"".join(self.name() for _ in range(names))
        if self.at > end or (rtype != QTYPE.SOA and self.at != end):
            raise _BadError("a name does not fit its record")
        rest = self.data[self.at : end]
        if rtype == QTYPE.SOA and len(rest) != 20:
            raise _BadError("an SOA of a wrong size")
        return prefix + expanded + rest


def read_reply(data: bytes, query: bytes) -> Reply | Malformed | Absent:
    """Read ``data`` as the answer to ``query``, a message of ``build_query``.

    ABSENT: it answers something else (another id, name, type, class, or no response at all);
    whoever sent it, the true answer may still come. Malformed: it is an answer to this query
    and cannot be read.
    """
    if len(data) < HEADER.size or data[:2] != query[:2]:
        return ABSENT
    _, flags, questions, *counts = HEADER.unpack_from(data)
    if not flags & QR or flags & OPCODE:
        return ABSENT
    rcode = flags & 15
    if questions == 0 and rcode in _WITHOUT_QUESTION:
        return Reply(rcode, truncated=False)
    end = query.index(b"\0", HEADER.size) + 5
    asked = data[HEADER.size : end]
    if questions != 1 or asked[:-4].lower() + asked[-4:] != query[HEADER.size : end]:
        return ABSENT
    if flags & TC:
        return Reply(rcode, truncated=True)
    if sum(counts) > RECORD_LIMIT:
        return Malformed("too many records")
    try:
        return _read_sections(_Cursor(data, end), rcode, counts)
    except _BadError as error:
        return Malformed(str(error))
    except (IndexError, struct.error):
        return Malformed("the message is cut off")


def _read_sections(cursor: _Cursor, rcode: int, counts: list[int]) -> Reply:
    sections: list[tuple[Record, ...]] = []
    for count in counts:
        records = [cursor.record() for _ in range(count)]
        sections.append(tuple(r for r, rclass in records if rclass == CLASS_IN))
        for record, _ in records:
            if record.type == QTYPE.OPT:
                rcode |= record.ttl >> 24 << 4
    return Reply(rcode, False, sections[0], sections[1])
