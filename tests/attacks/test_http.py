"""HTTP requests that a gate might read in another way than the server, and protocols within it."""

from __future__ import annotations

import socket

import pytest

from tests.attacks.tools import (
    ALLOWED,
    BLOCKED,
    EXPLICIT,
    LEAKED,
    OPEN,
    SENTENCE,
    connected,
    get,
    read_all,
    speak,
    tunnel,
)
from tests.lab import Capture, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import stray

pytestmark = pytest.mark.lab

BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
A, B = ALLOWED.name.encode(), BLOCKED.name.encode()
KEPT = b"GET /hello.txt HTTP/1.1\r\nHost: " + A + b"\r\n\r\n"
INNER = b"GET /hello.txt HTTP/1.1\r\nHost: " + B + b"\r\nConnection: close\r\n\r\n"


def head(*fields: bytes, method: bytes = b"POST") -> bytes:
    return b"\r\n".join([method + b" /hello.txt HTTP/1.1", b"Host: " + A, *fields]) + b"\r\n\r\n"


SMUGGLED = {
    "length-and-chunked": head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunked-and-length": head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n",
    "two-lengths": head(b"Content-Length: 0", b"Content-Length: %d" % len(INNER)),
    "length-with-sign": head(b"Content-Length: +0"),
    "length-list": head(b"Content-Length: 0, %d" % len(INNER)),
    "odd-encoding": head(b"Transfer-Encoding: xchunked"),
    "encoding-twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "encoding-with-tab": head(b"Transfer-Encoding:\tchunked\x0b"),
    "blank-before-colon": head(b"Content-Length : 5"),
    "folded": head(b"X: a", b" Content-Length: 5"),
    "bare-lf": b"GET /hello.txt HTTP/1.1\nHost: " + A + b"\nX: y\n\n",
    "lf-within": head(b"X: a\nTransfer-Encoding: chunked"),
    "bare-cr": head(b"X: a\rTransfer-Encoding: chunked"),
    "nul": head(b"X: a\0b"),
    "nul-in-the-name": head(b"X\0: b"),
    "two-hosts": head(b"Host: " + B),
    "host-folded": b"GET /hello.txt HTTP/1.1\r\nHost: " + A + b"\r\n " + B + b"\r\n\r\n",
    "host-list": b"GET /hello.txt HTTP/1.1\r\nHost: " + A + b", " + B + b"\r\n\r\n",
    "host-with-user": b"GET /hello.txt HTTP/1.1\r\nHost: " + A + b"@" + B + b"\r\n\r\n",
    "host-with-path": b"GET /hello.txt HTTP/1.1\r\nHost: " + A + b"/@" + B + b"\r\n\r\n",
    "blanks-first": b" \t\r\n" + INNER,
    "line-ends-first": b"\r\n" * 9 + INNER,
    "small-letters": b"get /hello.txt HTTP/1.1\r\nHost: " + B + b"\r\n\r\n",
    "http-0.9": b"GET /hello.txt\r\n",
    "http-1.2": INNER.replace(b"HTTP/1.1", b"HTTP/1.2"),
    "http-2-by-name": INNER.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "tab-for-blank": INNER.replace(b"GET ", b"GET\t"),
    "no-host": b"GET /hello.txt HTTP/1.1\r\n\r\n",
    "chunk-too-long": head(b"Transfer-Encoding: chunked") + b"1\r\nab\r\n0\r\n\r\n",
    "chunk-size-signed": head(b"Transfer-Encoding: chunked") + b"-1\r\n\r\n0\r\n\r\n",
    "trailer-with-host": head(b"Transfer-Encoding: chunked") + b"0\r\nHost: " + B + b"\r\n\r\n",
}


@BOTH
@pytest.mark.parametrize("request_", SMUGGLED.values(), ids=SMUGGLED)
def test_request_smuggling(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, request_: bytes
) -> None:
    """CL/TE, obs-fold, bare LF, NUL, two Hosts; the blocked request follows.

    Shown by: malformed HTTP taken for opaque.
    """
    vm.run(["getent", "ahosts", ALLOWED.name]).check()
    answer = speak(vm, ALLOWED.addresses[family], 80, request_ + INNER, seconds=2)
    assert LEAKED not in answer
    assert not capture.settle().sent_by_vm().mentioning(BLOCKED.name)
    assert not stray(capture)


@BOTH
@pytest.mark.parametrize(
    "first",
    [
        KEPT,
        head(b"Content-Length: 3") + b"abc",
        head(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
        head(b"Expect: 100-continue", b"Content-Length: 0"),
        head(b"Upgrade: websocket", b"Connection: Upgrade", method=b"GET"),
        head(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk",
             method=b"GET"),
    ],
    ids=["get", "length", "chunked", "expect", "upgrade", "h2c"],
)  # fmt: skip
def test_a_second_host(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, first: bytes
) -> None:
    """Pipelined after an allowed request of each framing, in one segment (coder httpjail).

    Shown by: `HttpRequests.forward` passing all after the first request.
    """
    answer = speak(vm, ALLOWED.addresses[family], 80, first + INNER + PREFACE, seconds=1)
    assert LEAKED not in answer
    assert not capture.settle().sent_by_vm().mentioning(BLOCKED.name)
    assert not stray(capture)


@BOTH
def test_upgrade_to_h2c(enforced: Ramnet, vm: Vm, capture: Capture, family: int) -> None:
    """The server never sees the Upgrade, so it cannot agree to what nobody could decide.

    Shown by: `Conversation._forward` keeping the Upgrade of h2c.
    """
    settings = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk")
    answer = speak(vm, ALLOWED.addresses[family], 80, get(ALLOWED.name, "/hello.txt", *settings))
    assert OPEN in answer
    assert " 101 " not in answer
    assert not capture.settle().sent_by_vm().where(lambda p: b"h2c" in p.payload.lower())
    assert not stray(capture)


@BOTH
@pytest.mark.parametrize("size", [24, 1, 16])
def test_http2_with_prior_knowledge(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, size: int
) -> None:
    """Shown by: `Http2Preface` taken for opaque."""
    vm.run(["getent", "ahosts", ALLOWED.name]).check()
    parts = [PREFACE[at : at + size] for at in range(0, 24, size)]
    assert speak(vm, ALLOWED.addresses[family], 80, *parts, seconds=2) == ""
    assert not capture.settle().sent_by_vm().port(80)
    assert not stray(capture)


ABSOLUTE = {
    "both-blocked": (B, B),
    "host-blocked": (A, B),
    "uri-blocked": (B, A),
    "with-user": (A + b"@" + B, A),
}


@BOTH
@pytest.mark.parametrize(("uri", "host"), ABSOLUTE.values(), ids=ABSOLUTE)
@pytest.mark.parametrize("explicit", [True, False], ids=["explicit", "transparent"])
def test_an_absolute_uri(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, uri: bytes, host: bytes,
    explicit: bool,
) -> None:  # fmt: skip
    """A server may go by either name, so both are decided.

    Shown by: `_serve_absolute` deciding the URI alone.
    """
    request = b"GET http://%s/hello.txt HTTP/1.1\r\nHost: %s\r\n\r\n" % (uri, host)
    proxy = EXPLICIT if explicit else (at.ANYWHERE.addresses[family], 80)
    answer = speak(vm, *proxy, request + INNER, seconds=2)
    assert SENTENCE in answer or " 400 " in answer
    assert not stray(capture)


INSIDE = {
    "connect": b"CONNECT " + B + b":443 HTTP/1.1\r\n\r\n",
    "connect-allowed": b"CONNECT " + A + b":443 HTTP/1.1\r\n\r\n",
    "absolute": b"GET http://" + B + b"/ HTTP/1.1\r\nHost: " + B + b"\r\n\r\n",
    "http": INNER,
    "http-second": KEPT + INNER,
    "http2": PREFACE,
    "socks4": b"\x04\x01\0\x50" + socket.inet_aton(BLOCKED.ipv4) + b"\0",
    "socks5": b"\x05\x01\x00",
}


@pytest.mark.parametrize("request_", INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize("proxy", [EXPLICIT, (at.ANYWHERE.ipv4, 80), (at.ANYWHERE.ipv6, 80)])
def test_inside_a_tunnel(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: tuple[str, int], request_: bytes
) -> None:
    """CONNECT inside CONNECT, and every other way to name another host there.

    Shown by: `_open_tunnel` without its guard.
    """
    answer = tunnel(vm, proxy, f"{ALLOWED.name}:80", request_)
    assert answer.startswith("HTTP/1.1 200 ")
    assert LEAKED not in answer
    sent = capture.settle().sent_by_vm()
    assert not sent.mentioning(BLOCKED.name)
    assert not sent.where(lambda p: p.payload.startswith((b"CONNECT", b"PRI", b"\x04", b"\x05")))
    assert not stray(capture)


@BOTH
def test_a_request_after_an_answer(enforced: Ramnet, vm: Vm, capture: Capture, family: int) -> None:
    """Not pipelined: the second comes when the first was answered, byte by byte.

    Shown by: `HttpRequests.forward` passing all after the first request.
    """
    with connected(vm, ALLOWED.addresses[family], 80, 2) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(KEPT)
        assert OPEN in sock.recv(4096).decode()
        for number in range(len(INNER)):
            sock.sendall(INNER[number : number + 1])
        assert LEAKED.encode() not in read_all(sock)
    assert not capture.settle().sent_by_vm().mentioning("blocked")
    assert not stray(capture)
