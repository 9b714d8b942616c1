"""Any bytes at all, and right requests bent in every place."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ramnet.wire.http import (
    ChunkedBody,
    Http2Preface,
    RequestHead,
    ResponseHead,
    forward_head,
    read_request_head,
    read_response_status,
)
from ramnet.wire.result import Absent, Malformed, NeedMore

from .contract import check_beginnings

PIECES = st.sampled_from(
    b"GET|get|POST|CONNECT|PRI|foo| |\t|\x0b|\r\n|\n|\r|/|*|http://|a.example|:443|[::1]|@|#|\0|\xff"
    b"| HTTP/1.1| HTTP/1.0| HTTP/2.0|HTTP/|Host: |Content-Length: |Transfer-Encoding: chunked|5|,"
    b"|0|;|SM|\r\n\r\n|Connection: |Upgrade: h2c".split(b"|")
)
SOUP = st.lists(PIECES, max_size=24).map(b"".join)
WHOLE = (
    b"POST http://b.example:81/x?y HTTP/1.1\r\nHost: a.example\r\nConnection: X-A, close\r\n"
    b"X-A: 1\r\nProxy-Authorization: Basic eA==\r\nExpect: 100-continue\r\n"
    b"Content-Length: 5\r\n\r\n"
)


@given(st.binary(max_size=200) | SOUP)
@example(b"\r\n\r\nCONNECT")
def test_any_bytes_as_a_request(data: bytes) -> None:
    result = check_beginnings(read_request_head, data)
    assert isinstance(result, RequestHead | Http2Preface | NeedMore | Malformed | Absent)


@given(st.data(), st.binary(max_size=3) | PIECES)
def test_a_request_bent_somewhere(data: st.DataObject, patch: bytes) -> None:
    at = data.draw(st.integers(0, len(WHOLE)))
    removed = data.draw(st.integers(0, 3))
    head = check_beginnings(read_request_head, WHOLE[:at] + patch + WHOLE[at + removed :])
    if isinstance(head, RequestHead) and head.form != "authority":
        forwarded = read_request_head(forward_head(head))
        assert isinstance(forwarded, RequestHead)
        assert (forwarded.host, forwarded.port) == (head.host, head.port)
        assert (forwarded.body, forwarded.method) == (head.body, head.method)
        assert forwarded.form in ("origin", "asterisk")


@given(
    st.binary(max_size=200)
    | st.lists(PIECES, max_size=20).map(lambda p: b"HTTP/1.1 200" + b"".join(p))
)
def test_any_bytes_as_a_response(data: bytes) -> None:
    result = check_beginnings(read_response_status, data)
    assert isinstance(result, ResponseHead | NeedMore | Malformed)


CHUNKS = st.lists(
    st.sampled_from(b"0|1|5|a|\r\n|\n|\r|;x|abcde| |X: y|\0|ffff".split(b"|")), max_size=20
)


@given(CHUNKS.map(b"".join), st.lists(st.integers(1, 9), max_size=40))
def test_any_bytes_as_a_chunked_body_however_they_are_cut(data: bytes, sizes: list[int]) -> None:
    whole = ChunkedBody().feed(data)
    body, at, result = ChunkedBody(), 0, (0, False)
    for size in [*sizes, len(data)]:
        part = data[at : at + size]
        step = body.feed(part)
        if isinstance(step, Malformed):
            assert step == whole
            return
        consumed, finished = step
        assert consumed == len(part) or finished
        at += consumed
        result = (at, finished)
        if finished:
            break
    assert result == whole


SLOW = [
    b"A" * 65535,
    b"GET " + b"x" * 65531,
    b"GET " + b" " * 65531,
    b"get " + b"://" * 21843,
    b"\r\n" * 32767,
    b"GET / HTTP/1.1\r\nX:" + b" " * 65000 + b"\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nX:" + b" \t" * 32500 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A:\r\n" * 16000 + b"\r\n",
    b"GET / HTTP/1.1\r\nConnection: " + b"," * 65000 + b"\r\n\r\n",
    b"CONNECT " + b"1" * 65000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 65000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("data", SLOW, ids=range(len(SLOW)))
def test_no_head_takes_long(data: bytes) -> None:
    """Quadratic work on 64 KiB takes seconds; linear work takes well under 50 ms."""
    start = time.process_time()
    read_request_head(data[:65536])
    assert time.process_time() - start < 0.25
