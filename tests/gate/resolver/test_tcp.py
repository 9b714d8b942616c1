"""DNS over TCP: many queries a connection, and clients that mean no good."""

import contextlib
import select
import socket
from collections.abc import Iterator
from typing import Any

import dns.message
import pytest

from ramnet.gate.resolver.server_tcp import CONNECTION_LIMIT, IDLE, PENDING_LIMIT
from tests.gate.resolver.service import SINKHOLE4, Service, answers
from tests.gate.resolver.situations import TRUE, owner, silence
from tests.gate.resolver.upstream import Upstream, wire


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=10)


def framed(name: str, message_id: int = 7, rtype: str = "A") -> bytes:
    query = dns.message.make_query(name, rtype, id=message_id).to_wire()
    return len(query).to_bytes(2) + query


def read(connection: socket.socket) -> dns.message.Message:
    with connection.makefile("rb", buffering=0) as stream:
        size = int.from_bytes(_exactly(stream, 2))
        return dns.message.from_wire(_exactly(stream, size))


def _exactly(stream: object, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.read(size - len(data))  # type: ignore[attr-defined]
        if not piece:
            raise EOFError
        data += piece
    return data


def is_closed(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


def test_several_queries_in_one_piece(service: Service) -> None:
    with connect(service) as connection:
        connection.sendall(b"".join(framed("evil.example", n) for n in range(300)))
        got = [read(connection) for _ in range(300)]
    assert [message.id for message in got] == list(range(300))
    assert all(answers(message) == [SINKHOLE4] for message in got)


def test_a_query_in_single_octets(service: Service) -> None:
    with connect(service) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for octet in framed("evil.example"):
                connection.sendall(bytes([octet]))
            assert answers(read(connection)) == [SINKHOLE4]


def test_a_ready_answer_does_not_wait_for_a_slow_one() -> None:
    with (
        Upstream(silence) as upstream,
        Service([upstream.place]) as service,
        connect(service) as connection,
    ):
        connection.sendall(framed("www.allowed.example", 1) + framed("evil.example", 2))
        assert read(connection).id == 2


def test_what_is_pending_is_answered_after_the_client_has_finished() -> None:
    held: list[Any] = []

    def hold(query: dns.message.Message, server: Upstream) -> None:
        held.extend((wire(query, f"{owner(query)} 60 A {TRUE}"), server.client))

    with (
        Upstream(hold) as upstream,
        Service([upstream.place]) as service,
        connect(service) as connection,
    ):
        connection.sendall(framed("www.allowed.example"))
        connection.shutdown(socket.SHUT_WR)
        upstream.wait_asked()
        upstream.udp.sendto(*held)
        assert answers(read(connection)) == [TRUE]
        assert is_closed(connection)


def test_more_pending_queries_than_the_limit_are_all_answered() -> None:
    number = PENDING_LIMIT * 3
    held: list[tuple[bytes, Any]] = []

    def hold(query: dns.message.Message, server: Upstream) -> None:
        held.append((wire(query, f"{owner(query)} 60 A {TRUE}"), server.client))

    with (
        Upstream(hold) as upstream,
        Service([upstream.place]) as service,
        connect(service) as connection,
    ):
        connection.sendall(b"".join(framed(f"n{n}.allowed.example", n) for n in range(number)))
        upstream.wait_asked(PENDING_LIMIT)
        service.ask("evil.example")
        assert service.status()["in_flight"] == PENDING_LIMIT
        got = set()
        for turn in range(number):
            if turn >= PENDING_LIMIT:
                upstream.wait_asked()
            upstream.udp.sendto(*held[turn])
            got.add(read(connection).id)
        assert got == set(range(number))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xff", id="a query of 65535"),
        pytest.param(b"\0\0", id="an empty query"),
        pytest.param(b"\0\x05abcde", id="less than a header"),
        pytest.param(b"\0\x0c" + b"\0\1\x80\0" + bytes(8), id="a response"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
    ],
)
def test_what_is_no_query_ends_the_connection(service: Service, data: bytes) -> None:
    with connect(service) as connection:
        connection.sendall(data)
        assert is_closed(connection)


def test_an_idle_connection_is_closed_and_one_in_use_is_not(service: Service) -> None:
    with connect(service) as connection:
        for _ in range(3):
            connection.sendall(framed("evil.example"))
            read(connection)
            service.advance(IDLE - 1)
        service.advance(1.5)
        assert is_closed(connection)
    assert service.status()["tcp_connections"] == 0


def test_single_octets_do_not_keep_a_connection_open(service: Service) -> None:
    with connect(service) as connection:
        for octet in framed("evil.example")[:9]:
            connection.sendall(bytes([octet]))
            service.advance(1)
        assert service.status()["tcp_connections"] == 1
        service.advance(2)
        assert service.status()["tcp_connections"] == 0


def test_those_who_only_hold_connections_make_room(service: Service) -> None:
    with contextlib.ExitStack() as held:
        idle = [held.enter_context(connect(service)) for _ in range(CONNECTION_LIMIT + 20)]
        with connect(service) as connection:
            connection.sendall(framed("evil.example"))
            assert answers(read(connection)) == [SINKHOLE4]
        assert service.status()["tcp_connections"] <= CONNECTION_LIMIT
        assert is_closed(idle[0])


def test_a_client_that_does_not_read_is_not_read_either() -> None:
    most = 16 * 2**20
    many = [f"www.allowed.example. 300 A 10.0.{n // 250}.{n % 250}" for n in range(1000)]
    upstream = Upstream(lambda query, _: wire(query, *many))
    with upstream, Service([upstream.place]) as service, connect(service) as connection:
        connection.setblocking(False)
        sent = 0
        while sent < most and select.select([], [connection], [], 0.5)[1]:
            sent += connection.send(framed("www.allowed.example") * 200)
        assert sent < most, "the pressure comes back to the client"
        service.advance(IDLE + 1)
        assert service.status()["tcp_connections"] == 0
        assert service.texts("evil.example", tcp=True) == [SINKHOLE4]
