"""Upstream replies: differential against dnspython, and the lies an upstream may tell."""

import struct

import dns.message
import dns.name
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.wire.dns import QTYPE, Record, Reply, build_query, from_text, read_reply
from ramnet.wire.dns.reply import RECORD_LIMIT
from ramnet.wire.result import ABSENT, Absent, Malformed

from .dns_messages import responses, spoilt

NAME = from_text("www.allowed.example")
QUERY = build_query(0x1234, NAME, QTYPE.A)
ASKED = NAME + b"\0\1\0\1"
A_RECORD = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc6\x33\x64\x07"


def reply(
    *records: bytes,
    message_id: int = 0x1234,
    flags: int = 0x8180,
    asked: bytes = ASKED,
    counts: tuple[int, ...] | None = None,
) -> bytes:
    numbers = counts or (1, len(records), 0, 0)
    return struct.pack("!6H", message_id, flags, *numbers) + asked + b"".join(records)


def read(data: bytes) -> Reply:
    result = read_reply(data, QUERY)
    assert isinstance(result, Reply), result
    return result


def query_for(message: dns.message.Message) -> bytes:
    asked = message.question[0]
    return build_query(message.id, asked.name.to_digestable(), asked.rdtype)


def records(section: list[dns.rrset.RRset]) -> list[tuple[bytes, int, int, bytes]]:
    """dnspython's records, in our form."""
    return [
        (rrset.name.to_digestable(), rrset.rdtype, rrset.ttl, rdata.to_wire())
        for rrset in section
        for rdata in rrset
    ]


@given(responses())
def test_every_response_is_read_as_dnspython_does(case: tuple[dns.message.Message, bytes]) -> None:
    message, data = case
    result = read_reply(data, query_for(message))
    assert isinstance(result, Reply)
    parsed = dns.message.from_wire(data, one_rr_per_rrset=True)
    assert result.rcode == parsed.rcode()
    assert list(map(tuple, result.answers)) == records(parsed.answer)
    assert list(map(tuple, result.authorities)) == records(parsed.authority)


@given(responses())
def test_every_beginning_of_a_response_is_no_reply(
    case: tuple[dns.message.Message, bytes],
) -> None:
    message, data = case
    for length in range(len(data)):
        assert not isinstance(read_reply(data[:length], query_for(message)), Reply)


@given(st.data(), responses())
def test_a_spoilt_response_never_raises(
    data: st.DataObject, case: tuple[dns.message.Message, bytes]
) -> None:
    message, octets = case
    changed = octets[:2] + data.draw(spoilt(st.just(octets)))[2:]
    assert isinstance(read_reply(changed, query_for(message)), Reply | Malformed | Absent)


def test_our_query_is_what_dnspython_makes() -> None:
    parsed = dns.message.from_wire(QUERY)
    assert parsed.id == 0x1234
    assert parsed.question[0].name == dns.name.from_text("www.allowed.example")
    assert (parsed.edns, parsed.payload, parsed.options) == (0, 1232, ())
    assert dns.message.from_wire(build_query(1, NAME, 28, edns=False)).edns == -1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(reply(A_RECORD, message_id=0x1235), id="another id"),
        pytest.param(reply(A_RECORD, flags=0x0180), id="a query"),
        pytest.param(reply(A_RECORD, flags=0xA180), id="another opcode"),
        pytest.param(reply(A_RECORD, asked=from_text("evil.example") + b"\0\1\0\1"), id="a name"),
        pytest.param(reply(A_RECORD, asked=NAME + b"\0\x1c\0\1"), id="another type"),
        pytest.param(reply(A_RECORD, asked=NAME + b"\0\1\0\3"), id="another class"),
        pytest.param(reply(asked=b"", counts=(0, 0, 0, 0)), id="no question, no error"),
        pytest.param(reply(asked=ASKED * 2, counts=(2, 0, 0, 0)), id="two questions"),
        pytest.param(reply()[:20], id="cut in the question"),
    ],
)
def test_what_answers_something_else_is_passed_over(data: bytes) -> None:
    assert read_reply(data, QUERY) is ABSENT


def test_another_spelling_of_the_name_is_the_same_name() -> None:
    assert read(reply(A_RECORD, asked=ASKED.upper())).answers == (
        Record(NAME, QTYPE.A, 60, bytes([198, 51, 100, 7])),
    )


def test_an_error_may_come_without_the_question() -> None:
    for rcode in (1, 2, 4, 5):
        assert read(reply(asked=b"", counts=(0, 0, 0, 0), flags=0x8180 | rcode)).rcode == rcode


def test_a_truncated_reply_has_no_records() -> None:
    assert read(reply(A_RECORD[:7], flags=0x8380)) == Reply(0, truncated=True)


def test_the_response_code_goes_on_in_opt() -> None:
    opt = b"\0\0\x29\x04\xd0\x01\0\0\0\0\0"
    assert read(reply(opt, counts=(1, 0, 0, 1))).rcode == 16


def test_a_time_to_live_with_the_sign_bit_is_none() -> None:
    assert read(reply(A_RECORD.replace(b"\0\0\0\x3c", b"\x80\0\0\x3c"))).answers[0].ttl == 0


def test_records_of_another_class_are_left_out() -> None:
    assert read(reply(A_RECORD.replace(b"\0\1\0\1", b"\0\1\0\3"))).answers == ()


def _named(owner: bytes) -> bytes:
    return owner + A_RECORD[2:]


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(_named(b"\xc0\x25"), id="name that points to itself"),
        pytest.param(_named(b"\xc0\x30"), id="name that points forwards"),
        pytest.param(_named(b"\x01a\xc0\x25"), id="name that goes in circles"),
        pytest.param(_named(b"\x80\0"), id="label of unknown kind"),
        pytest.param(_named((b"\x3f" + b"a" * 63) * 3 + b"\x3f" + b"a" * 63 + b"\0"), id="long"),
        pytest.param(A_RECORD[:-1], id="cut off"),
        pytest.param(A_RECORD[:10] + b"\0\3abc", id="address of three octets"),
        pytest.param(b"\xc0\x0c\0\x1c\0\1\0\0\0\1\0\4abcd", id="IPv6 of four octets"),
        pytest.param(b"\xc0\x0c\0\5\0\1\0\0\0\1\0\1\xc0\x0c", id="name beyond its record"),
        pytest.param(b"\xc0\x0c\0\5\0\1\0\0\0\1\0\3\xc0\x0c\0", id="octets behind a name"),
        pytest.param(b"\xc0\x0c\0\6\0\1\0\0\0\1\0\4\xc0\x0c\xc0\x0c", id="SOA without numbers"),
        pytest.param(b"\xc0\x0c\0\x0f\0\1\0\0\0\1\0\1\0", id="MX without a name"),
    ],
)
def test_malformed(record: bytes) -> None:
    assert isinstance(read_reply(reply(record), QUERY), Malformed)


def test_the_number_of_records_is_bounded() -> None:
    most = reply(*[A_RECORD] * RECORD_LIMIT)
    assert len(read(most).answers) == RECORD_LIMIT
    assert isinstance(read_reply(reply(*[A_RECORD] * (RECORD_LIMIT + 1)), QUERY), Malformed)


@pytest.mark.timeout(5)
def test_the_costliest_reply_is_read_in_bounded_steps() -> None:
    """Every owner points to a name of 110 labels, hidden in a text record."""
    labels = b"\x01a" * 110 + b"\0"
    text = b"\xc0\x0c\0\x10\0\1\0\0\0\1" + struct.pack("!H", len(labels)) + labels
    hidden = 12 + len(ASKED) + len(text) - len(labels)
    others = [_named(struct.pack("!H", 0xC000 | hidden))] * (RECORD_LIMIT - 1)
    assert read(reply(text, *others)).answers[-1].owner == labels
