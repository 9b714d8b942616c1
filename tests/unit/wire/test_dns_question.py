"""Client queries: what dnspython reads, and what no client sends."""

import struct

import dns.exception
import dns.flags
import dns.message
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ramnet.wire.dns import Question, from_text, read_header, read_question
from ramnet.wire.result import Malformed

from .dns_messages import queries, spoilt

NAME = b"\x03www\x07allowed\x07example\0"
HEAD = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0)
ASKED = NAME + b"\0\1\0\1"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


def with_counts(*counts: int) -> bytes:
    return struct.pack("!6H", 7, 0x0100, *counts)


def read(data: bytes) -> Question:
    question = read_question(data)
    assert isinstance(question, Question), question
    return question


@given(queries())
def test_every_query_is_read_as_dnspython_means_it(message: dns.message.Message) -> None:
    data = message.to_wire()
    question = read(data)
    asked = message.question[0]
    assert question.id == message.id
    assert question.name == asked.name.to_digestable()
    assert (question.qtype, question.qclass) == (asked.rdtype, asked.rdclass)
    assert question.asked == data[12 : 12 + len(question.asked)]
    assert question.payload == (message.payload if message.edns >= 0 else None)
    assert question.version == max(message.edns, 0)


@given(queries())
def test_every_beginning_of_a_query_is_malformed(message: dns.message.Message) -> None:
    data = message.to_wire()
    for length in range(len(data)):
        assert isinstance(read_question(data[:length]), Malformed)


@given(spoilt(queries().map(lambda message: message.to_wire())))
@example(with_counts(1, 0, 0, 65535) + ASKED)
@example(with_counts(1, 0, 0, 1) + ASKED + b"\xc0")
def test_a_spoilt_query_is_read_as_dnspython_does_or_not_at_all(data: bytes) -> None:
    question = read_question(data)
    if not isinstance(question, Question) or question.qtype in (41, 249, 250):
        return
    try:
        message = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return  # it looks into options and signatures, which we pass over
    asked = message.question[0]
    assert question.name == asked.name.to_digestable()
    assert (question.qtype, question.qclass) == (asked.rdtype, asked.rdclass)


@given(st.binary(max_size=600))
def test_any_octets_are_taken(data: bytes) -> None:
    read_question(data)
    read_header(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEAD[:11], id="half a header"),
        pytest.param(with_counts(0, 0, 0, 0), id="no question"),
        pytest.param(with_counts(2, 0, 0, 0) + ASKED * 2, id="two questions"),
        pytest.param(with_counts(1, 1, 0, 0) + ASKED + OPT, id="an answer"),
        pytest.param(HEAD + ASKED + b"\0", id="octets behind it"),
        pytest.param(HEAD + b"\xc0\x0c\0\1\0\1", id="name that points to itself"),
        pytest.param(HEAD + b"\x01a\xc0\x0c\0\1\0\1", id="name that ends in a pointer"),
        pytest.param(HEAD + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", id="label of 64"),
        pytest.param(HEAD + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", id="name of 257"),
        pytest.param(with_counts(1, 0, 0, 2) + ASKED + OPT + OPT, id="OPT twice"),
        pytest.param(with_counts(1, 0, 0, 1) + ASKED + b"\x01a" + OPT, id="OPT below the root"),
        pytest.param(with_counts(1, 0, 0, 17) + ASKED + OPT * 17, id="seventeen records"),
    ],
)
def test_refused(data: bytes) -> None:
    assert isinstance(read_question(data), Malformed)


def test_the_longest_name_is_read() -> None:
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    assert len(name) == 255
    assert read(HEAD + name + b"\0\1\0\1").name == name


def test_the_spelling_is_kept_beside_the_name() -> None:
    question = read(HEAD + ASKED.replace(b"www", b"wWw"))
    assert question.name == NAME
    assert question.asked.startswith(b"\x03wWw")
    assert not question.plain


def test_the_type_is_not_taken_for_a_letter() -> None:
    """65 is HTTPS and ``A``; lower-cased it would be type 97."""
    question = read(HEAD + NAME + b"\0\x41\0\1")
    assert question.qtype == 65
    assert question.asked.endswith(b"\0\x41\0\1")
    assert question.plain


def test_only_a_query_without_options_is_plain() -> None:
    assert read(HEAD + ASKED).plain
    assert read(with_counts(1, 0, 0, 1) + ASKED + OPT).plain
    cookie = OPT[:-2] + b"\0\x0c\0\x0a\0\x08" + b"12345678"
    assert not read(with_counts(1, 0, 0, 1) + ASKED + cookie).plain
    other = b"\0\0\x10\0\xff\0\0\0\0\0\0"
    assert not read(with_counts(1, 0, 0, 1) + ASKED + other).plain


@pytest.mark.parametrize(
    ("payload", "limit"), [(None, 512), (0, 512), (511, 512), (1232, 1232), (65535, 4096)]
)
def test_the_limit_of_a_datagram(payload: int | None, limit: int) -> None:
    assert read(HEAD + ASKED)._replace(payload=payload).limit(4096) == limit


def test_a_header_tells_queries_from_the_rest() -> None:
    header = read_header(struct.pack("!6H", 7, 0x8000 | 5 << 11, 1, 0, 0, 0))
    assert not isinstance(header, Malformed)
    assert header.response
    assert header.opcode == 5


def test_the_name_is_what_text_says() -> None:
    assert from_text("WWW.allowed.Example.") == NAME
