"""Our own answers, read by dnspython."""

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.wire.dns import (
    QTYPE,
    RCODE,
    Question,
    Record,
    Reply,
    address_answer,
    build_answer,
    build_query,
    empty_answer,
    error_message,
    from_text,
    read_header,
    read_question,
    read_reply,
    render,
)
from ramnet.wire.dns.answer import TTL_LIMIT
from ramnet.wire.result import Malformed

from .dns_messages import HOSTS, responses

NAME = from_text("www.allowed.example")
TARGET = from_text("cdn.example")
SINKHOLE = bytes([192, 0, 0, 8])
WHY = "acme has disallowed access to www.allowed.example. ask it (ramnet)"


def question(
    text: str = "www.allowed.example", rtype: str = "A", *, edns: int | None = None, flags: int = 0
) -> Question:
    query = dns.message.make_query(text, rtype, id=77)
    query.flags |= flags
    if edns is not None:
        query.use_edns(0, 0, edns)
    result = read_question(query.to_wire())
    assert isinstance(result, Question)
    return result


def parsed(data: bytes) -> dns.message.Message:
    return dns.message.from_wire(data)


def lines(message: dns.message.Message) -> list[str]:
    return [line for rrset in message.answer for line in rrset.to_text().splitlines()]


def test_an_address() -> None:
    answer = address_answer(NAME, QTYPE.A, [SINKHOLE], 5)
    message = parsed(render(question(), answer))
    assert message.id == 77
    assert message.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
    assert lines(message) == ["www.allowed.example. 5 IN A 192.0.0.8"]
    assert message.edns == -1


def test_only_addresses_of_the_family_asked() -> None:
    both = [SINKHOLE, bytes(15) + b"\1"]
    assert address_answer(NAME, QTYPE.A, both, 5).addresses == (SINKHOLE,)
    assert address_answer(NAME, QTYPE.AAAA, both, 5).addresses == (both[1],)
    assert address_answer(NAME, QTYPE.MX, both, 5).answers == 0
    assert address_answer(NAME, 4711, both, 5).answers == 0


def test_the_client_gets_its_own_spelling_and_flags_back() -> None:
    answer = address_answer(NAME, QTYPE.A, [SINKHOLE], 5)
    asked = question("wWw.AlloWed.example", flags=dns.flags.CD | dns.flags.AD)
    message = parsed(render(asked, answer))
    assert message.question[0].name.labels[0] == b"wWw"
    assert message.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA | dns.flags.CD


def test_a_refusal_says_why_to_who_can_hear() -> None:
    answer = address_answer(NAME, QTYPE.A, [SINKHOLE], 5).explained(15, WHY)
    message = parsed(render(question(edns=1232), answer))
    assert [(o.code, o.text) for o in message.extended_errors()] == [(15, WHY)]
    assert message.payload == 1232
    assert parsed(render(question(), answer)).edns == -1


def test_a_text_is_never_cut_inside_a_character() -> None:
    answer = empty_answer().explained(15, "ä" * 2000)
    message = parsed(render(question(edns=4096), answer, limit=4096))
    assert message.extended_errors()[0].text == "ä" * 512


def test_a_chain_of_names() -> None:
    chain = [Record(NAME, QTYPE.CNAME, 300, TARGET), Record(TARGET, QTYPE.A, 60, SINKHOLE)]
    answer = build_answer(NAME, chain)
    assert answer.ttl == 60
    data = render(question(), answer)
    assert lines(parsed(data)) == [
        "www.allowed.example. 300 IN CNAME cdn.example.",
        "cdn.example. 60 IN A 192.0.0.8",
    ]
    assert data.count(b"cdn") == 1, "the second owner is a pointer"


@pytest.mark.parametrize(
    ("age", "ttls"), [(0, [300, 60]), (7, [293, 53]), (60, [240, 0]), (1000, [0, 0])]
)
def test_answers_age(age: int, ttls: list[int]) -> None:
    chain = [Record(NAME, QTYPE.CNAME, 300, TARGET), Record(TARGET, QTYPE.A, 60, SINKHOLE)]
    message = parsed(render(question(), build_answer(NAME, chain), age=age))
    assert [rrset.ttl for rrset in message.answer] == ttls


def test_no_answer_lives_longer_than_an_hour() -> None:
    answer = build_answer(NAME, [Record(NAME, QTYPE.A, 2**31 - 1, SINKHOLE)])
    assert answer.ttl == TTL_LIMIT
    assert parsed(render(question(), answer)).answer[0].ttl == TTL_LIMIT


def test_what_is_too_long_loses_its_explanation_first_and_then_everything() -> None:
    answer = address_answer(NAME, QTYPE.A, [bytes([10, 0, 0, n]) for n in range(20)], 60)
    explained = answer.explained(15, "because " * 30)
    full = len(render(question(edns=4096), explained))
    message = parsed(render(question(edns=4096), explained, limit=full))
    assert message.extended_errors()[0].text
    message = parsed(render(question(edns=4096), explained, limit=full - 1))
    assert message.extended_errors()[0].text is None
    assert len(lines(message)) == 20
    data = render(question(), explained, limit=340)
    message = dns.message.from_wire(data)
    assert message.flags & dns.flags.TC
    assert lines(message) == []
    assert len(data) <= 340


def test_a_response_code_beyond_fifteen() -> None:
    message = parsed(render(question(edns=1232), empty_answer(RCODE.BADVERS)))
    assert message.rcode() == dns.rcode.BADVERS


def test_errors_carry_the_question_where_there_is_one() -> None:
    data = dns.message.make_query("a.example", "A", id=9).to_wire()
    header = read_header(data)
    assert not isinstance(header, Malformed)
    message = parsed(error_message(header, RCODE.REFUSED, read_question(data)))
    assert (message.id, message.rcode(), len(message.question)) == (9, dns.rcode.REFUSED, 1)
    message = parsed(error_message(header, RCODE.FORMERR, Malformed("x")))
    assert (message.id, message.rcode(), len(message.question)) == (9, dns.rcode.FORMERR, 0)


@given(responses(), st.integers(0, 4000))
def test_whatever_an_upstream_says_can_be_said_again(
    case: tuple[dns.message.Message, bytes], age: int
) -> None:
    message, data = case
    asked = message.question[0]
    name = asked.name.to_digestable()
    reply = read_reply(data, build_query(message.id, name, asked.rdtype))
    assert isinstance(reply, Reply)
    answer = build_answer(name, reply.answers, reply.authorities, rcode=reply.rcode)
    section = name + data[12 + len(name) :][:4]
    asker = Question(1, 0x100, name, asked.rdtype, 1, section, None, 0, plain=True)
    again = dns.message.from_wire(render(asker, answer, age=age), one_rr_per_rrset=True)
    before = dns.message.from_wire(data, one_rr_per_rrset=True)
    for ours, theirs in ((again.answer, before.answer), (again.authority, before.authority)):
        assert [(r.name, r.rdtype, r[0]) for r in ours] == [
            (r.name, r.rdtype, r[0]) for r in theirs
        ]
        assert [r.ttl for r in ours] == [max(min(r.ttl, TTL_LIMIT) - age, 0) for r in theirs]


@given(HOSTS)
def test_every_spelling_gets_the_same_records(name: dns.name.Name) -> None:
    lower = name.to_digestable()
    answer = build_answer(lower, [Record(lower, QTYPE.CNAME, 9, TARGET)])
    query = dns.message.make_query(name, "A")
    asked = read_question(query.to_wire())
    assert isinstance(asked, Question)
    message = parsed(render(asked, answer))
    assert message.question == query.question
    assert message.answer[0].name.labels == name.labels
