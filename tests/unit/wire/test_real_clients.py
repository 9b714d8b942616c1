"""Differential: what OpenSSL, curl, Python and Go really send is read as they mean it."""

import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ramnet.wire.http import Http2Preface, RequestHead, read_request_head
from ramnet.wire.result import ABSENT
from ramnet.wire.socks import (
    Socks4Request,
    Socks5Greeting,
    Socks5Request,
    read_socks5_request,
    socks5_method,
)
from ramnet.wire.socks import read_request as read_socks
from ramnet.wire.tls import ClientHello, read_client_hello

from .clients import caught, registry_mirror
from .contract import check_beginnings

MANY = tuple(f"proto-{number}".encode() for number in range(150))


def caught_hello(argv_for: Callable[[int], Sequence[str]]) -> tuple[bytes, ClientHello]:
    with caught(argv_for) as client:
        data, hello = client.read(read_client_hello)
    assert isinstance(hello, ClientHello)
    assert hello.length == len(data)
    assert check_beginnings(read_client_hello, data) == hello
    return data, hello


def openssl(*options: str) -> tuple[bytes, ClientHello]:
    return caught_hello(
        lambda port: ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
    )


def test_openssl_with_a_name() -> None:
    _, hello = openssl("-servername", "Registry.Example")
    assert hello.server_name == "Registry.Example"
    assert hello.alpn is ABSENT
    assert hello.versions[0] == 0x0304
    assert not hello.ech


def test_openssl_without_a_name() -> None:
    assert openssl("-noservername")[1].server_name is ABSENT


def test_openssl_of_tls_1_2() -> None:
    assert openssl("-servername", "a.example", "-tls1_2")[1].versions == (0x0303,)


def test_openssl_with_many_protocols() -> None:
    _, hello = openssl("-servername", "a.example", "-alpn", ",".join(p.decode() for p in MANY))
    assert hello.alpn == MANY


def test_openssl_with_a_key_share_as_large_as_a_post_quantum_one() -> None:
    """OpenSSL 3.5 has ML-KEM; ffdhe8192 is as large and older."""
    data, hello = openssl("-servername", "a.example", "-groups", "ffdhe8192:X25519")
    assert hello.server_name == "a.example"
    assert len(data) > 1200


def test_openssl_with_records_of_512_bytes() -> None:
    options = ("-servername", "a.example", "-max_send_frag", "512", "-split_send_frag", "512")
    data, hello = openssl(*options, "-alpn", ",".join(p.decode() for p in MANY))
    assert hello.server_name == "a.example"
    assert data.count(b"\x16\x03\x01\x02\x00") >= 2


def test_python() -> None:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="bücher.example")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    hello = check_beginnings(read_client_hello, outgoing.read())
    assert isinstance(hello, ClientHello)
    assert hello.server_name == "xn--bcher-kva.example"
    assert hello.alpn == (b"h2", b"http/1.1")


def through_a_proxy(argv: Sequence[str], **environment: str) -> tuple[RequestHead, ClientHello]:
    """Answer the client's CONNECT and read the hello that follows."""
    with caught(lambda port: argv, HTTPS_PROXY="http://127.0.0.1:{port}", **environment) as client:
        data, head = client.read(read_request_head)
        assert isinstance(head, RequestHead)
        assert check_beginnings(read_request_head, data) == head
        client.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        data, hello = client.read(read_client_hello)
        assert isinstance(hello, ClientHello)
        assert check_beginnings(read_client_hello, data) == hello
    return head, hello


def check_tunnel(head: RequestHead, hello: ClientHello) -> None:
    assert (head.method, head.form) == ("CONNECT", "authority")
    assert (head.host, head.port) == ("registry.example", 443)
    assert head.host_header == ("registry.example", 443)
    assert hello.server_name == "registry.example"
    assert 0x0304 in hello.versions


def test_curl_through_a_proxy() -> None:
    head, hello = through_a_proxy(["curl", "--insecure", "https://registry.example/v2/"])
    check_tunnel(head, hello)
    assert hello.alpn == (b"h2", b"http/1.1")


def test_docker_through_a_proxy() -> None:
    """The docker command asks the registry itself for a manifest."""
    check_tunnel(*through_a_proxy(["docker", "manifest", "inspect", "registry.example/a/b"]))


def test_docker_registry_through_a_proxy(tmp_path: Path) -> None:
    head, hello = through_a_proxy(registry_mirror(tmp_path))
    check_tunnel(head, hello)
    assert hello.alpn == (b"h2", b"http/1.1")


def curl(*options: str) -> Callable[[int], list[str]]:
    return lambda port: ["curl", *(option.format(port=port) for option in options)]


def test_curl_with_a_body_it_holds_back() -> None:
    with caught(curl("-d", "a=b", "-H", "Expect: 100-continue", "http://127.0.0.1:{port}/x")) as c:
        _, head = c.read(read_request_head)
        port = c.connection.getsockname()[1]
    assert isinstance(head, RequestHead)
    assert (head.method, head.target, head.form) == ("POST", "/x", "origin")
    assert (head.host, head.port) == ("127.0.0.1", port)
    assert head.expects_continue


def test_curl_with_an_absolute_uri() -> None:
    with caught(curl("-x", "http://127.0.0.1:{port}", "http://registry.example:5000/v2/?n=1")) as c:
        _, head = c.read(read_request_head)
    assert isinstance(head, RequestHead)
    assert (head.form, head.scheme) == ("absolute", "http")
    assert (head.host, head.port) == ("registry.example", 5000)


def test_curl_with_http2_without_tls() -> None:
    with caught(curl("--http2-prior-knowledge", "http://127.0.0.1:{port}/")) as c:
        _, preface = c.read(read_request_head)
    assert preface == Http2Preface()


def test_curl_asking_to_upgrade_to_http2() -> None:
    with caught(curl("--http2", "http://127.0.0.1:{port}/")) as c:
        _, head = c.read(read_request_head)
    assert isinstance(head, RequestHead)
    assert head.upgrade


def test_curl_with_socks4a() -> None:
    with caught(curl("--socks4a", "127.0.0.1:{port}", "http://registry.example:81/")) as c:
        _, request = c.read(read_socks)
    assert isinstance(request, Socks4Request)
    assert (request.host, request.port, request.command) == ("registry.example", 81, 1)


@pytest.mark.parametrize(
    ("scheme", "host", "meant"),
    [
        ("socks5h", "registry.example", "registry.example"),
        ("socks5", "192.0.2.7", "192.0.2.7"),
        ("socks5", "[2001:db8::7]", "2001:db8::7"),
    ],
)
def test_curl_with_socks5(scheme: str, host: str, meant: str) -> None:
    with caught(curl("-x", f"{scheme}://127.0.0.1:{{port}}", f"http://{host}:81/")) as c:
        _, greeting = c.read(read_socks)
        assert isinstance(greeting, Socks5Greeting)
        assert 0 in greeting.methods
        c.connection.sendall(socks5_method(0))
        _, request = c.read(read_socks5_request)
    assert isinstance(request, Socks5Request)
    assert (request.host, request.port, request.command) == (meant, 81, 1)


def test_what_a_client_sends_at_once_is_enough() -> None:
    """What NeedMore asks for never reaches past what has come from a client that then waits."""
    with caught(curl("-k", "https://127.0.0.1:{port}/")) as c:
        c.connection.recv(1, socket.MSG_PEEK)
        data, hello = c.read(read_client_hello)
    assert isinstance(hello, ClientHello)
    assert len(data) == hello.length
