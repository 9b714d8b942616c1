"""Servers that never come to an end: given up by name, at whatever point they dawdle."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trustme
from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError, SlowRetrievalError

from ramnet.trust import fetcher as fetcher_module
from ramnet.trust.fetcher import HttpsFetcher

Behave = Callable[[socket.socket, ssl.SSLContext], None]
PATIENCE = 20.0
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


def _drip(client: socket.socket, first: bytes, drop: bytes) -> None:
    """Never silent for long: one drop, again and again, until the client has had enough."""
    client.sendall(first)
    while True:
        client.sendall(drop)
        time.sleep(0.05)


def in_the_handshake(client: socket.socket, _: ssl.SSLContext) -> None:
    """A record of TLS whose bytes come one by one, announced as 16 KiB."""
    _drip(client, bytes.fromhex("1603034000"), b"\x02")


def in_the_head(client: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(client, server_side=True) as secured:
        _drip(secured, b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x")


def between_headers(client: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(client, server_side=True) as secured:
        _drip(secured, b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")


def before_the_answer(client: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(client, server_side=True) as secured:
        _drip(secured, b"", b"HTTP/1.1 100 Continue\r\n\r\n")


def in_the_body(client: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(client, server_side=True) as secured:
        _drip(secured, _HEAD, b"x")


def in_an_error(client: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(client, server_side=True) as secured:
        _drip(secured, b"HTTP/1.1 503 No\r\nContent-Length: 60000\r\n\r\n", b"x")


def silent(client: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(client, server_side=True) as secured:
        secured.sendall(_HEAD)
        while secured.recv(4096):
            pass


def endless(client: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(client, server_side=True) as secured:
        secured.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            secured.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


def elsewhere(client: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(client, server_side=True) as secured:
        secured.sendall(b"HTTP/1.1 302 Found\r\nLocation: /keys\r\nContent-Length: 0\r\n\r\n")
        secured.recv(4096)


@contextmanager
def serving(behave: Behave, authority: trustme.CA) -> Iterator[str]:
    """The URL of a server that behaves so to its one client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE)

    def serve() -> None:
        client, _ = listener.accept()
        client.settimeout(PATIENCE)
        with client:
            try:
                behave(client, context)
            except OSError:  # the client has gone
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/timestamp.json"
    finally:
        thread.join()
        listener.close()


def download(url: str, authority: trustme.CA, *, seconds: float) -> bytes:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    fetcher = HttpsFetcher(
        lambda host, port: socket.create_connection((host, port), PATIENCE), context,
        deadline=time.monotonic() + seconds, timestamp=b"", etag="",
    )  # fmt: skip
    try:
        return fetcher.download_bytes(url, 1 << 20)
    finally:
        fetcher.close()


@pytest.mark.parametrize(
    "behave",
    [in_the_handshake, in_the_head, between_headers, before_the_answer, in_the_body, in_an_error],
    ids=lambda behave: behave.__name__,
)
def test_who_drips_is_given_up_at_the_deadline(behave: Behave, authority: trustme.CA) -> None:
    with (
        serving(behave, authority) as url,
        pytest.raises(SlowRetrievalError, match="it took too long"),
    ):
        download(url, authority, seconds=0.5)


def test_who_is_silent_is_given_up_before(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher_module, "READ_TIME", 0.2)
    with (
        serving(silent, authority) as url,
        pytest.raises(SlowRetrievalError, match="the server fell silent"),
    ):
        download(url, authority, seconds=PATIENCE)


def test_who_never_ends_is_oversized(authority: trustme.CA) -> None:
    with serving(endless, authority) as url, pytest.raises(DownloadLengthMismatchError):
        download(url, authority, seconds=PATIENCE)


def test_who_sends_us_elsewhere_is_not_followed(authority: trustme.CA) -> None:
    words = "the server says 302 and would send us elsewhere, which is not followed"
    with serving(elsewhere, authority) as url, pytest.raises(DownloadError, match=words):
        download(url, authority, seconds=PATIENCE)


def test_a_name_at_which_nobody_answers_is_not_slow(authority: trustme.CA) -> None:
    def dial(host: str, port: int) -> socket.socket:
        raise TimeoutError("timed out")

    context = ssl.create_default_context()
    fetcher = HttpsFetcher(
        dial, context, deadline=time.monotonic() + PATIENCE, timestamp=b"", etag=""
    )
    with pytest.raises(DownloadError, match="timed out") as refused:
        fetcher.download_bytes("https://127.0.0.1/x", 10)
    assert not isinstance(refused.value, SlowRetrievalError)
