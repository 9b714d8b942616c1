"""What a client asks: header, the one question, and whether it speaks EDNS."""

import struct
from typing import Final, NamedTuple

from ramnet.wire.dns.codes import OPCODE, QR, QTYPE
from ramnet.wire.dns.names import NAME_LIMIT
from ramnet.wire.result import Malformed

HEADER: Final = struct.Struct("!6H")
_QUESTION_TAIL: Final = struct.Struct("!HH")
_RECORD_TAIL: Final = struct.Struct("!HHIH")
_RECORDS_AFTER_QUESTION: Final = 16
"""A query carries OPT and perhaps TSIG or the SOA of an IXFR; no client sends more."""


class Header(NamedTuple):
    """The twelve octets every message begins with (RFC 1035 section 4.1.1)."""

    id: int
    flags: int
    questions: int
    answers: int
    authorities: int
    additionals: int

    @property
    def response(self) -> bool:
        """A response: never to be answered, or two servers would answer each other for ever."""
        return bool(self.flags & QR)

    @property
    def opcode(self) -> int:
        """0 is QUERY."""
        return (self.flags & OPCODE) >> 11


class Question(NamedTuple):
    """One query."""

    id: int
    flags: int
    name: bytes
    """Wire form, lower case."""
    qtype: int
    qclass: int
    asked: bytes
    """The question section as the client spelt it, to be sent back octet for octet."""
    payload: int | None
    """The largest datagram the client takes (RFC 6891 section 6.2.3); None: it has no EDNS."""
    version: int
    """Of EDNS; there is only 0."""
    plain: bool
    """Nothing but a lower-case question and an OPT without options: such a query comes again
    octet for octet, so that its answer may be kept under its own octets."""

    def limit(self, most: int) -> int:
        """Octets that the client takes over UDP, at most ``most``."""
        return 512 if self.payload is None else min(max(self.payload, 512), most)


def read_header(data: bytes) -> Header | Malformed:
    """The header; Malformed where there is not even one."""
    if len(data) < HEADER.size:
        return Malformed("shorter than a header")
    return Header._make(HEADER.unpack_from(data))


def _name_end(data: bytes, at: int) -> int:
    """Behind the name at ``at``, or 0. A first name has nothing to be compressed against."""
    last = min(len(data), at + NAME_LIMIT)
    while at < last:
        length = data[at]
        if length > 63:
            return 0
        at += 1 + length
        if not length:
            return at
    return 0


def _owner_end(data: bytes, at: int) -> int:
    """Behind an owner name, which may end in a compression pointer, or 0."""
    last = min(len(data), at + NAME_LIMIT)
    while at < last:
        length = data[at]
        if length >= 0xC0:
            return at + 2
        if length > 63:
            return 0
        at += 1 + length
        if not length:
            return at
    return 0


class _Options(NamedTuple):
    payload: int | None
    version: int
    plain: bool


def _read_options(data: bytes, at: int, records: int) -> _Options | Malformed:
    """Walk the records after the question; only OPT is of interest."""
    payload, version, plain = None, 0, True
    for _ in range(records):
        start, at = at, _owner_end(data, at)
        if not at or at + _RECORD_TAIL.size > len(data):
            return Malformed("a record is cut off")
        rtype, rclass, ttl, size = _RECORD_TAIL.unpack_from(data, at)
        at += _RECORD_TAIL.size + size
        if at > len(data):
            return Malformed("a record is longer than the message")
        if rtype != QTYPE.OPT:
            plain = False
            continue
        if payload is not None or data[start]:
            return Malformed("OPT twice, or not at the root")
        payload, version, plain = rclass, (ttl >> 16) & 0xFF, plain and not size
    if at != len(data):
        return Malformed("octets behind the last record")
    return _Options(payload, version, plain)


def read_question(data: bytes) -> Question | Malformed:
    """Read one query of exactly one question.

    Sets no limit to opcode, class or type: what is answered is the resolver's decision.
    """
    header = read_header(data)
    if isinstance(header, Malformed):
        return header
    if header.questions != 1 or header.answers:
        return Malformed("not one question alone")
    records = header.authorities + header.additionals
    name_end = _name_end(data, HEADER.size)
    end = name_end + _QUESTION_TAIL.size
    if not name_end or end > len(data) or records > _RECORDS_AFTER_QUESTION:
        return Malformed("no proper question")
    options = _read_options(data, end, records)
    if isinstance(options, Malformed):
        return options
    asked = data[HEADER.size : end]
    name = asked[: -_QUESTION_TAIL.size]
    lower = name.lower()
    qtype, qclass = _QUESTION_TAIL.unpack_from(data, name_end)
    return Question(
        header.id,
        header.flags,
        lower,
        qtype,
        qclass,
        asked,
        options.payload,
        options.version,
        options.plain and lower == name,
    )
