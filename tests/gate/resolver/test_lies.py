"""Upstreams that lie, and others that pretend to be upstreams."""

import socket

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from ramnet.gate.resolver.exchange import STRAY_LIMIT
from tests.gate.resolver.service import Service, answers, bound
from tests.gate.resolver.situations import FALSE, NAME, TRUE, owner, true
from tests.gate.resolver.upstream import Upstream, answer, wire


def _another_id(query: dns.message.Message) -> bytes:
    false = answer(query, f"{owner(query)} 300 A {FALSE}")
    false.id ^= 1
    return false.to_wire()


def _another_question(query: dns.message.Message, name: str, rtype: str = "A") -> bytes:
    other = dns.message.make_query(name, rtype, id=query.id)
    return wire(other, f"{name}. 300 A {FALSE}", f"{owner(query)} 300 A {FALSE}")


def _not_a_response(query: dns.message.Message) -> bytes:
    false = answer(query, f"{owner(query)} 300 A {FALSE}")
    false.flags &= ~dns.flags.QR
    return false.to_wire()


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(_another_id, id="id"),
        pytest.param(lambda q: _another_question(q, "evil.example"), id="name"),
        pytest.param(lambda q: _another_question(q, NAME, "AAAA"), id="type"),
        pytest.param(_not_a_response, id="no response"),
        pytest.param(lambda q: b"", id="nothing"),
        pytest.param(lambda q: q.to_wire()[:2], id="id alone"),
    ],
)
def test_a_reply_to_something_else_is_waited_through(lie: object) -> None:
    def lying(query: dns.message.Message, server: Upstream) -> list[bytes]:
        assert callable(lie)
        return [lie(query), true(query, server)]

    with Upstream(lying) as upstream, Service([upstream.place]) as service:
        assert service.texts(NAME) == [TRUE]
        assert len(upstream.queries) == 1


def test_a_reply_from_somewhere_else_is_not_heard() -> None:
    def spoofed(query: dns.message.Message, server: Upstream) -> bytes:
        with bound(socket.SOCK_DGRAM) as elsewhere:
            elsewhere.sendto(wire(query, f"{owner(query)} 300 A {FALSE}"), server.client)
        return true(query, server)

    with Upstream(spoofed) as upstream, Service([upstream.place]) as service:
        assert service.texts(NAME) == [TRUE]


def test_whoever_guesses_ids_drives_us_to_tcp() -> None:
    def guessing(query: dns.message.Message, server: Upstream) -> list[bytes]:
        if server.over_tcp:
            return [true(query, server)]
        return [_another_id(query)] * STRAY_LIMIT

    with Upstream(guessing) as upstream, Service([upstream.place]) as service:
        assert service.texts(NAME) == [TRUE]
        assert upstream.over_tcp == 1


def test_every_question_has_a_port_and_an_id_of_its_own() -> None:
    with Upstream(true) as upstream, Service([upstream.place]) as service:
        for number in range(40):
            service.ask(f"n{number}.allowed.example")
        ids = {query.id for query in upstream.queries}
        ports = set(upstream.sources)
        assert len(ids) > 35
        assert len(ports) > 35
        steps = {b - a for a, b in zip(upstream.sources, upstream.sources[1:], strict=False)}
        assert len(steps) > 30, "not one after the other"


def test_a_malformed_reply_is_a_failed_server() -> None:
    def broken(query: dns.message.Message, server: Upstream) -> bytes:
        data = bytearray(true(query, server))
        data[7] = 9  # nine answers
        return bytes(data)

    with (
        Upstream(broken) as first,
        Upstream(true) as second,
        Service([first.place, second.place]) as service,
    ):
        assert service.texts(NAME) == [TRUE]
        assert "malformed" in service.status()["upstreams"][0]["reason"]


def test_a_truncated_reply_is_fetched_over_tcp() -> None:
    many = [f"{NAME}. 300 A 198.51.100.{n}" for n in range(1, 201)]

    def truncating(query: dns.message.Message, server: Upstream) -> bytes:
        if server.over_tcp:
            return wire(query, *many)
        short = answer(query, many[0])
        short.flags |= dns.flags.TC
        return short.to_wire()

    with Upstream(truncating) as upstream, Service([upstream.place]) as service:
        message = service.ask(NAME, edns=1232)
        assert message.flags & dns.flags.TC
        assert answers(message) == []
        assert len(service.texts(NAME, tcp=True)) == 200
        assert len(service.texts(NAME, edns=4096)) == 200
        assert upstream.over_tcp == 1, "the second client has it from the cache"


@pytest.mark.parametrize("broken", [None, b"", b"short", b"x" * 40])
def test_a_broken_tcp_answer_is_a_failed_server(broken: bytes | None) -> None:
    def truncating(query: dns.message.Message, server: Upstream) -> bytes | None:
        if server.over_tcp:
            return broken
        short = answer(query)
        short.flags |= dns.flags.TC
        return short.to_wire()

    with (
        Upstream(truncating) as first,
        Upstream(true) as second,
        Service([first.place, second.place]) as service,
    ):
        assert service.texts(NAME) == [TRUE]


def test_a_server_without_edns_is_asked_without() -> None:
    def old(query: dns.message.Message, server: Upstream) -> bytes:
        return true(query, server) if query.edns < 0 else wire(query, rcode="FORMERR")

    with Upstream(old) as upstream, Service([upstream.place]) as service:
        assert service.texts(NAME) == [TRUE]
        assert service.texts("b.allowed.example") == [TRUE]
        assert len(upstream.queries) == 3
