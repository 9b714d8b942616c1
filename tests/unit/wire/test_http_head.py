"""Request heads by the letter of RFC 9112, and what is refused so that none is read in two ways."""

import pytest

from ramnet.wire.http import (
    Chunked,
    Length,
    NoBody,
    RequestHead,
    read_request_head,
)
from ramnet.wire.result import ABSENT, Absent, Malformed

from .contract import check_beginnings


def request(line: str, *fields: str) -> bytes:
    return "".join(f"{part}\r\n" for part in (line, *fields, "")).encode("latin-1")


def read(line: str, *fields: str) -> RequestHead:
    data = request(line, *fields)
    head = check_beginnings(read_request_head, data + b"GET")
    assert isinstance(head, RequestHead), head
    assert head.length == len(data)
    return head


def reason(line: str, *fields: str) -> str:
    result = check_beginnings(read_request_head, request(line, *fields))
    assert isinstance(result, Malformed), result
    return result.reason


def test_an_ordinary_request() -> None:
    assert read(
        "GET /v2/?n=1 HTTP/1.1", "Host: Registry.Example:5000", "X:  a b \t"
    ) == RequestHead(
        method="GET",
        target="/v2/?n=1",
        form="origin",
        host="Registry.Example",
        port=5000,
        host_header=("Registry.Example", 5000),
        headers=((b"Host", b"Registry.Example:5000"), (b"X", b"a b")),
        body=NoBody(),
        upgrade=False,
        expects_continue=False,
        version=(1, 1),
        length=65,
        scheme=None,
    )


@pytest.mark.parametrize(
    ("line", "form", "host", "port", "scheme"),
    [
        ("GET / HTTP/1.1", "origin", "h.example", 8080, None),
        ("GET //b.example/ HTTP/1.1", "origin", "h.example", 8080, None),
        ("OPTIONS * HTTP/1.1", "asterisk", "h.example", 8080, None),
        ("CONNECT b.example:443 HTTP/1.1", "authority", "b.example", 443, None),
        ("CONNECT [2001:db8::1]:443 HTTP/1.0", "authority", "2001:db8::1", 443, None),
        ("CONNECT 192.0.2.1:443 HTTP/1.1", "authority", "192.0.2.1", 443, None),
        ("GET http://b.example/ HTTP/1.1", "absolute", "b.example", None, "http"),
        ("GET HTTP://b.example HTTP/1.1", "absolute", "b.example", None, "http"),
        ("GET https://b.example:1?x=@ HTTP/1.1", "absolute", "b.example", 1, "https"),
        ("GET http://[::1]:65535/@/ HTTP/1.1", "absolute", "::1", 65535, "http"),
    ],
)
def test_whom_a_request_addresses(
    line: str, form: str, host: str, port: int | None, scheme: str | None
) -> None:
    head = read(line, "Host: h.example:8080")
    assert (head.form, head.host, head.port, head.scheme) == (form, host, port, scheme)
    assert head.host_header == ("h.example", 8080)


@pytest.mark.parametrize("fields", [(), ("Host:",), ("Host: ",)])
def test_a_request_that_names_no_host(fields: tuple[str, ...]) -> None:
    head = read("GET / HTTP/1.1", *fields)
    assert isinstance(head.host, Absent)
    assert head.host_header is ABSENT
    assert head.port is None


@pytest.mark.parametrize(
    "target",
    ["", "x", "?x", "*", "/a#b", "http:/b", "http://", "http:///a", "ftp://b.example/", "ws://b/"],
)
def test_targets_of_no_known_form(target: str) -> None:
    reason(f"GET {target} HTTP/1.1", "Host: a.example")


BAD_AUTHORITIES = [
    "user@b.example:1",
    "allowed.example:80@b.example:1",
    "allowed.example\\@b.example:1",
    "b.example:0",
    "b.example:65536",
    "b.example:100000",
    "b.example:-1",
    "b.example:+1",
    "b.example:",
    "b.example:1:2",
    "[b.example]:1",
    "[192.0.2.1]:1",
    "[::1:1",
    "[fe80::1%25eth0]:1",
    "[fe80::1%eth0]:1",
    "[v1.a]:1",
    "[]:1",
    "::1:1",
    "b%2eexample:1",
    "b,example:1",
    "*.example:1",
    "b\xfc.example:1",
    f"{'a' * 256}:1",
    ":1",
]


@pytest.mark.parametrize("authority", BAD_AUTHORITIES)
def test_authorities_that_are_refused(authority: str) -> None:
    reason(f"CONNECT {authority} HTTP/1.1", "Host: a.example")
    reason(f"GET http://{authority}/ HTTP/1.1", "Host: a.example")
    reason("GET / HTTP/1.1", f"Host: {authority}")


def test_a_user_is_named_as_the_reason() -> None:
    assert "user" in reason("CONNECT allowed.example:80@b.example:443 HTTP/1.1")


def test_a_connect_needs_a_port_and_has_no_body() -> None:
    reason("CONNECT b.example HTTP/1.1")
    reason("CONNECT http://b.example:443/ HTTP/1.1")
    reason("CONNECT b.example:443 HTTP/1.1", "Content-Length: 5")
    reason("CONNECT b.example:443 HTTP/1.1", "Transfer-Encoding: chunked")
    assert read("CONNECT b.example:443 HTTP/1.1", "Content-Length: 0").body == Length(0)


@pytest.mark.parametrize(
    "fields",
    [
        ("Host: a.example", "Host: a.example"),
        ("Host: a.example", "hOST: b.example"),
        ("Host: a.example, b.example",),
        ("Host : a.example",),
        ("Host\t: a.example",),
        (" Host: a.example",),
        ("Host: a.example", " folded"),
        ("Host: a.example", "\tfolded"),
        ("Host: a.example", ": x"),
        ("Host: a.example", "no colon"),
        ("Host: a.example", "X: a\0b"),
        ("Host: a.example", "X: a\rb"),
        ("Host: a.example", "X: a\nHost: b.example"),
        ("Host: a.example", "X: a\x01b"),
        ("Host: a.example", "X: a\x7fb"),
        ("Host: a.example", "X\xfc: a"),
        ("Host: a.example", *["X: a"] * 256),
    ],
)
def test_fields_that_are_refused(fields: tuple[str, ...]) -> None:
    reason("GET / HTTP/1.1", *fields)


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 1", "Transfer-Encoding: chunked"),
        ("Content-Length: 1", "Content-Length: 2"),
        ("Content-Length: 1", "Content-Length: 1"),
        ("Content-Length: 1, 1",),
        ("Content-Length: +1",),
        ("Content-Length: -1",),
        ("Content-Length: 0x1",),
        ("Content-Length: 1_0",),
        ("Content-Length: \xb2",),
        ("Content-Length:",),
        (f"Content-Length: {'9' * 19}",),
        (f"Content-Length: {'9' * 5000}",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding:",),
    ],
)
def test_framings_that_are_refused(fields: tuple[str, ...]) -> None:
    reason("POST / HTTP/1.1", "Host: a.example", *fields)


def test_framings_that_are_read() -> None:
    assert read("POST / HTTP/1.1", "content-LENGTH: 0042").body == Length(42)
    assert read("POST / HTTP/1.1", "Transfer-Encoding: Chunked").body == Chunked()
    assert read("GET / HTTP/1.1").body == NoBody()
    reason("POST / HTTP/1.0", "Transfer-Encoding: chunked")


def test_upgrade_and_expectation() -> None:
    assert read("GET / HTTP/1.1", "Upgrade: h2c").upgrade
    assert read("PUT / HTTP/1.1", "Expect: 100-Continue").expects_continue
    assert not read("PUT / HTTP/1.0", "Expect: 100-continue").expects_continue
    assert not read("PUT / HTTP/1.1", "Expect: something").expects_continue


def test_methods_with_other_signs() -> None:
    for method in ("M-SEARCH", "VERSION-CONTROL", "A!#$%&'*+.^_`|~9"):
        assert read(f"{method} / HTTP/1.1").method == method


def test_the_limit_is_on_the_head_alone() -> None:
    data = request("GET / HTTP/1.1", "Host: a.example")
    assert isinstance(read_request_head(data + b"x" * 100, limit=len(data)), RequestHead)
    assert isinstance(read_request_head(data, limit=len(data) - 1), Malformed)


def test_the_second_of_two_pipelined_requests() -> None:
    first = request("GET / HTTP/1.1", "Host: allowed.example")
    data = first + request("GET / HTTP/1.1", "Host: blocked.example")
    head = read_request_head(data)
    assert isinstance(head, RequestHead)
    second = read_request_head(memoryview(data)[head.length :])
    assert isinstance(second, RequestHead)
    assert (head.host, second.host) == ("allowed.example", "blocked.example")
