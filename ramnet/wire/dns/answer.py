"""What the client is told: built once, then answered with octets.

Everything behind the question is the same for every client that asks it: an owner name is a
pointer to the question or to an earlier CNAME's target, and questions for one name are equally
long however they are spelt.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ramnet.wire.dns.codes import CD, OPCODE, QR, QTYPE, RA, RCODE, RD, TC
from ramnet.wire.dns.question import HEADER, Header, Question
from ramnet.wire.dns.reply import PAYLOAD, Record
from ramnet.wire.result import Malformed

TTL_LIMIT: Final = 3600
"""Seconds; what an upstream calls valid for longer is asked again after this."""
_TEXT_LIMIT: Final = 1024
_EDE_OPTION: Final = 15
_RECORD_TAIL: Final = struct.Struct("!HHIH")
_TTL: Final = struct.Struct("!I")
_POINTER_LIMIT: Final = 0x3FFF
_ADDRESS_SIZE: Final[dict[int, int]] = {QTYPE.A: 4, QTYPE.AAAA: 16}


@dataclass(frozen=True, slots=True)
class ExtendedError:
    """Why there is no other answer (RFC 8914); shown to clients that speak EDNS."""

    code: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question, for every client that may ask it."""

    rcode: int
    body: bytes = b""
    """Answer and authority section."""
    answers: int = 0
    authorities: int = 0
    ttls: tuple[int, ...] = ()
    """Where in ``body`` the times to live stand."""
    ttl: int = 0
    """Seconds for which it is true; 0: for this one question only."""
    addresses: tuple[bytes, ...] = ()
    """Packed, in the order of the answer."""
    error: ExtendedError | None = None

    def explained(self, code: int, text: str) -> "Answer":
        """The same, with an extended error."""
        return replace(self, error=ExtendedError(code, text))


def empty_answer(rcode: int = RCODE.NOERROR, ttl: int = 0) -> Answer:
    """An answer without records; no SOA either, so clients do not keep it for long."""
    return Answer(rcode, ttl=ttl)


def build_answer(
    name: bytes,
    answers: Sequence[Record],
    authorities: Sequence[Record] = (),
    *,
    rcode: int = RCODE.NOERROR,
    ttl: int | None = None,
) -> Answer:
    """Put ``answers`` to a question for ``name`` into one message body.

    ``ttl`` None: as long as the shortest-lived record.
    """
    start = HEADER.size + len(name) + 4
    known = {name: HEADER.size}
    body = bytearray()
    ttls = []
    for record in (*answers, *authorities):
        pointer = known.get(record.owner)
        body += record.owner if pointer is None else struct.pack("!H", 0xC000 | pointer)
        ttls.append(len(body) + 4)
        life = min(record.ttl, TTL_LIMIT)
        body += _RECORD_TAIL.pack(record.type, 1, life, len(record.data))
        if record.type == QTYPE.CNAME and start + len(body) <= _POINTER_LIMIT:
            known.setdefault(record.data.lower(), start + len(body))
        body += record.data
    lives = [min(record.ttl, TTL_LIMIT) for record in (*answers, *authorities)]
    return Answer(
        rcode,
        bytes(body),
        len(answers),
        len(authorities),
        tuple(ttls),
        min([*lives, TTL_LIMIT] if ttl is None else [*lives, ttl]) if lives else ttl or 0,
        tuple(r.data for r in answers if r.type in (QTYPE.A, QTYPE.AAAA)),
    )


def address_answer(name: bytes, qtype: int, addresses: Sequence[bytes], ttl: int) -> Answer:
    """Packed ``addresses`` of the question's own family; an empty answer for every other type."""
    size = _ADDRESS_SIZE.get(qtype)
    records = [Record(name, qtype, ttl, packed) for packed in addresses if len(packed) == size]
    return build_answer(name, records, ttl=ttl)


def _aged(answer: Answer, age: int) -> bytes:
    if not age:
        return answer.body
    body = bytearray(answer.body)
    for at in answer.ttls:
        (ttl,) = _TTL.unpack_from(body, at)
        _TTL.pack_into(body, at, max(ttl - age, 0))
    return bytes(body)


def _opt(rcode: int, error: ExtendedError | None) -> bytes:
    option = b""
    if error:
        cut = error.text.encode("utf-8", "replace")[:_TEXT_LIMIT]
        text = cut.decode("utf-8", "ignore").encode()  # no half character at the end
        option = struct.pack("!HHH", _EDE_OPTION, 2 + len(text), error.code) + text
    fixed = _RECORD_TAIL.pack(QTYPE.OPT, PAYLOAD, rcode >> 4 << 24, len(option))
    return b"\0" + fixed + option


def render(question: Question, answer: Answer, *, age: int = 0, limit: int = 65535) -> bytes:
    """The whole message for the client that asked ``question``.

    ``age``: seconds since the answer was made. ``limit``: octets that the client takes; where
    they do not suffice, the explanation goes first, and then every record, with TC set.
    """
    edns = question.payload is not None
    flags = QR | RA | question.flags & (OPCODE | RD | CD) | answer.rcode & 15
    body, counts = _aged(answer, age), (answer.answers, answer.authorities)
    opt = _opt(answer.rcode, answer.error) if edns else b""
    size = HEADER.size + len(question.asked) + len(body)
    if edns and size + len(opt) > limit:
        opt = _opt(answer.rcode, answer.error and ExtendedError(answer.error.code))
    if size + len(opt) > limit:
        flags, body, counts = flags | TC, b"", (0, 0)
    return HEADER.pack(question.id, flags, 1, *counts, int(edns)) + question.asked + body + opt


def error_message(header: Header, rcode: int, question: Question | Malformed) -> bytes:
    """A bare ``rcode``, with the question where it could be read."""
    if isinstance(question, Question):
        return render(question, Answer(rcode))
    flags = QR | RA | header.flags & (OPCODE | RD) | rcode & 15
    return HEADER.pack(header.id, flags, 0, 0, 0, 0)
