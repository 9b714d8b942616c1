"""Chunked bodies, response heads, and the heads that are passed on."""

import pytest

from ramnet.wire.http import (
    ChunkedBody,
    RequestHead,
    ResponseHead,
    connect_head,
    forward_head,
    read_request_head,
    read_response_status,
    write_authority,
)
from ramnet.wire.result import Malformed, NeedMore

from .contract import check_beginnings

BODIES = [
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b'5;name="a b"\r\nhello\r\n0005 ; x\r\nworld\r\n0;last\r\n\r\n',
    b"A\r\n0123\r\n4567\r\n0\r\nX-Checksum: 1\r\nY: 2\r\n\r\n",
]


@pytest.mark.parametrize("body", BODIES)
def test_a_chunked_body_however_it_is_cut(body: bytes) -> None:
    following = b"GET / HTTP/1.1\r\n"
    assert ChunkedBody().feed(body + following) == (len(body), True)
    for cut in range(len(body)):
        reader = ChunkedBody()
        assert reader.feed(body[:cut]) == (cut, False)
        assert reader.feed(memoryview(body[cut:] + following)) == (len(body) - cut, True)
        assert reader.feed(following) == (0, True)


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1_0\r\n",
        b"1" * 16 + b"\r\n",
        b"1\n",
        b"1\r\r\n",
        b"1;a\rb\r\n",
        b"1;a\nx\r\n0\r\n\r\n",
        b"1;\0\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\nab",
        b"1\r\naGET / HTTP/1.1\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nHost: b.example\r\n\r\n",
        b"0\r\ntransfer-encoding: chunked\r\n\r\n",
        b"1;" + b"a" * 1024,
        b"0\r\nX: " + b"a" * 8192,
        b"0\r\n" + b"X: y\r\n" * 1400,
    ],
)
def test_chunked_bodies_that_are_refused(body: bytes) -> None:
    reader = ChunkedBody()
    broken = reader.feed(body)
    assert isinstance(broken, Malformed)
    assert reader.feed(b"0\r\n\r\n") == broken
    slow = ChunkedBody()
    steps = [slow.feed(body[at : at + 1]) for at in range(len(body))]
    assert steps[-1] == broken


def test_a_relay_may_move_chunk_data_unseen() -> None:
    body = ChunkedBody()
    assert body.feed(b"10000000\r\n") == (10, False)
    assert body.remaining == 0x10000000
    body.skip(0x0FFFFFFF)
    assert body.feed(b"x\r\n0\r\n\r\n") == (8, True)
    assert body.remaining == 0


@pytest.mark.parametrize(
    ("head", "status", "interim"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", 200, False),
        (b"HTTP/1.0 403 acme has disallowed\xe9\r\n\r\n", 403, False),
        (b"HTTP/1.1 100\r\n\r\n", 100, True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 103, True),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n\r\n", 101, False),
        (b"HTTP/1.0 200 OK\nA: b\n\n", 200, False),
    ],
)
def test_response_heads(head: bytes, status: int, interim: bool) -> None:
    result = check_beginnings(read_response_status, head + b"\r\n\r\n")
    assert result == ResponseHead(status, len(head))
    assert isinstance(result, ResponseHead)
    assert result.interim is interim


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 20\r\n",
        b"HTTP/1.1 099 x\r\n",
        b"HTTP/1.1  200 x\r\n",
    ],
)
def test_responses_that_are_refused(head: bytes) -> None:
    assert isinstance(check_beginnings(read_response_status, head), Malformed)


def test_a_response_head_has_a_limit() -> None:
    head = b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100
    assert isinstance(read_response_status(head, limit=100), Malformed)
    assert read_response_status(b"") == NeedMore(1)


def parsed(data: bytes) -> RequestHead:
    head = read_request_head(data)
    assert isinstance(head, RequestHead)
    return head


PROXIED = parsed(
    b"POST http://b.example:81/x?y HTTP/1.1\r\n"
    b"User-Agent: docker\r\n"
    b"Host: a.example\r\n"
    b"Connection: X-Hop, Host, content-length , keep-alive\r\n"
    b"X-Hop: 1\r\n"
    b"Keep-Alive: 5\r\n"
    b"TE: trailers\r\n"
    b"Upgrade: h2c\r\n"
    b"Proxy-Authorization: Basic eA==\r\n"
    b"Proxy-Connection: keep-alive\r\n"
    b"Content-Length: 5\r\n"
    b"\r\n"
)


def test_the_head_that_goes_to_the_server() -> None:
    assert forward_head(PROXIED) == (
        b"POST /x?y HTTP/1.1\r\n"
        b"Host: b.example:81\r\n"
        b"User-Agent: docker\r\n"
        b"Content-Length: 5\r\n"
        b"Connection: close\r\n"
        b"\r\n"
    )


def test_the_head_that_goes_to_a_parent_proxy() -> None:
    assert forward_head(
        PROXIED, form="absolute", extra=[(b"Proxy-Authorization", b"Basic cA==")]
    ) == (
        b"POST http://b.example:81/x?y HTTP/1.1\r\n"
        b"Host: b.example:81\r\n"
        b"User-Agent: docker\r\n"
        b"Content-Length: 5\r\n"
        b"Proxy-Authorization: Basic cA==\r\n"
        b"Connection: close\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("line", "origin", "absolute"),
    [
        (b"GET http://b.example", b"/", b"http://b.example/"),
        (b"GET http://b.example?a/b", b"/?a/b", b"http://b.example/?a/b"),
        (b"GET http://[::1]:81//c", b"//c", b"http://[::1]:81//c"),
        (b"OPTIONS http://b.example", b"*", b"http://b.example"),
        (b"OPTIONS *", b"*", b"http://a.example"),
        (b"GET /c*", b"/c*", b"http://a.example/c*"),
    ],
)
def test_targets_that_are_passed_on(line: bytes, origin: bytes, absolute: bytes) -> None:
    head = parsed(line + b" HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert forward_head(head).split()[1] == origin
    assert forward_head(head, form="absolute").split()[1] == absolute


def test_a_connect_for_a_parent_proxy() -> None:
    head = parsed(connect_head("2001:db8::1", 443, extra=[(b"Proxy-Authorization", b"x")]))
    assert (head.method, head.host, head.port) == ("CONNECT", "2001:db8::1", 443)
    assert head.host_header == ("2001:db8::1", 443)
    assert write_authority("a.example", None) == b"a.example"
