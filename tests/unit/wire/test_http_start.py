"""What is HTTP, what only resembles it, and what is another protocol."""

import pytest

from ramnet.wire.http import Http2Preface, RequestHead, read_request_head
from ramnet.wire.result import ABSENT, Malformed, NeedMore

from .contract import check_beginnings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REST = b"Host: a.example\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x05\x01\x00",
        b"{",
        b'{"jsonrpc": "2.0"}',
        b"<?xml version='1.0'?>",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO mail.example\r\n",
        b"EHLO mail.example\n",
        b"USER someone\r\n",
        b"a001 LOGIN me secret\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"PING\r\n",
        b"get key\r\n",
        b"set http://a.example/ 0 0 1\r\n",
        b'CONNECT {"verbose":false}\r\n',
        b"CONNECT\naccept-version:1.2\n\n\0",
        b"OPTIONS rtsp://a.example/ RTSP/1.0\r\n",
        b"INVITE sip:bob@a.example SIP/2.0\r\n",
        b"AMQP\0\0\x09\x01",
        b"0033git-upload-pack /a.git\0host=a.example\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11",  # PROXY protocol, version 2
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"\r\nEHLO a.example\r\n",
    ],
)
def test_other_protocols_are_absent(data: bytes) -> None:
    assert check_beginnings(read_request_head, data) is ABSENT


@pytest.mark.parametrize("data", [b"\xff", b"GET\0", b"HELO(", b"HTTP/", b"[", b"a001 \x01"])
def test_absent_as_soon_as_it_cannot_be_a_request(data: bytes) -> None:
    assert read_request_head(data[:-1]) == NeedMore(len(data))
    assert read_request_head(data) in (ABSENT, Malformed("control characters in the request line"))


LENIENT = [
    b"get / HTTP/1.1\r\n",
    b"Get / HTTP/1.1\r\n",
    b"foo / HTTP/1.1\r\n",
    b"foo / http/1.1\r\n",
    b"GET\t/\tHTTP/1.1\r\n",
    b"GET\x0b/\x0bHTTP/1.1\r\n",
    b"GET\x0c/\x0cHTTP/1.1\r\n",
    b"GET\r/\rHTTP/1.1\r\n",
    b"GET  / HTTP/1.1\r\n",
    b"GET /  HTTP/1.1\r\n",
    b"GET / HTTP/1.1 \r\n",
    b"GET / http/1.1\r\n",
    b"GET / HTTP/1.1\n",
    b"GET / HTTP/1.1\r\r\n",
    b"GET / HTTP/1.1x\r\n",
    b"GET / HTTP/01.1\r\n",
    b"GET / HTTP/1.2\r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET / HTTP/0.9\r\n",
    b"GET / JUNK/1.0\r\n",
    b"GET / junk HTTP/1.1\r\n",
    b"GET /\r\n",
    b"get /\n",
    b"Get /\r\n",
    b"GET http://a.example/\r\n",
    b"CONNECT a.example:443\r\n",
    b"CONNECT a.example:443\n",
    b"GET /\xc3\xbc HTTP/1.1\r\n",
    b"foo /\xc3\xbc HTTP/1.1\r\n",
    b"GET /\0 HTTP/1.1\r\n",
    b"foo /\0 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    b"A" * 33 + b" / HTTP/1.1\r\n",
    b"HTTP / HTTP/2.0\r\n",
]


@pytest.mark.parametrize("line", LENIENT)
@pytest.mark.parametrize("before", [b"", b"\r\n", b"\n", b" ", b"\r\n" * 5])
def test_what_a_lenient_server_would_serve_is_malformed(before: bytes, line: bytes) -> None:
    assert isinstance(check_beginnings(read_request_head, before + line + REST), Malformed)


@pytest.mark.parametrize("count", range(5))
def test_empty_lines_before_a_request_do_not_hide_it(count: int) -> None:
    data = b"\r\n" * count + b"CONNECT a.example:443 HTTP/1.1\r\n" + REST
    head = check_beginnings(read_request_head, data)
    assert isinstance(head, RequestHead)
    assert (head.method, head.host, head.length) == ("CONNECT", "a.example", len(data))


@pytest.mark.parametrize("before", [b"\r\n" * 5, b"\n", b"\r", b" ", b"\t", b"\x0b", b"\x0c\r\n"])
def test_other_white_space_before_a_request_is_malformed(before: bytes) -> None:
    data = before + b"CONNECT a.example:443 HTTP/1.1\r\n" + REST
    assert isinstance(check_beginnings(read_request_head, data), Malformed)


def test_the_preface_of_http2() -> None:
    assert check_beginnings(read_request_head, PREFACE + b"\0\0\0\4") == Http2Preface(24)
    assert read_request_head(PREFACE[:4]) == NeedMore(5)
    assert read_request_head(PREFACE[:14]) == NeedMore(24)
    assert isinstance(read_request_head(b"\r\n" + PREFACE), Malformed)


def test_a_request_line_without_end_is_malformed_at_the_limit() -> None:
    for endless in (b"A", b"GET /", b"\r\n", b"GET / HTTP/1.1\r\nA: "):
        data = (endless + b"a" * 200)[:99] if endless != b"\r\n" else endless * 60
        assert isinstance(read_request_head(data[:99], limit=100), NeedMore)
        data += b"a" if len(data) == 99 else b""
        assert isinstance(read_request_head(data, limit=100), Malformed)
