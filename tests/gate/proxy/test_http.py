"""Plain HTTP that was meant for somewhere far: each request is decided."""

import contextlib
import socket

import pytest

from tests.gate.proxy.rig import FAR, OTHER, SENTENCE, SINKHOLE, Rig, Web, echo, read_all, read_some

pytestmark = pytest.mark.lab

GET = b"GET /a HTTP/1.1\r\nHost: good.example\r\n\r\n"
TO_SINKHOLE = ("--resolve", f"bad.example:80:{SINKHOLE}")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfar"


def test_requests_pass_unchanged_and_the_connection_is_kept(rig: Rig) -> None:
    web = Web("far")
    server = rig.listen(web)
    with rig.connect(FAR, server.port) as sock:
        for _ in range(3):
            sock.sendall(GET)
            assert read_some(sock, len(OK)) == OK
    assert web.heads == [GET.removesuffix(b"\r\n\r\n")] * 3
    assert server.accepted == 1
    event = rig.events.wait(verdict="allowed", kind="http")
    assert (event.bytes_up, event.bytes_down) == (3 * len(GET), 3 * len(OK))


def test_a_refused_host_reads_why(rig: Rig) -> None:
    done = rig.run(
        "curl", "-sS", "-i", "http://bad.example/v2/", "--resolve", f"bad.example:80:{SINKHOLE}"
    )
    assert done.stdout.startswith(f"HTTP/1.1 403 {SENTENCE.format('bad.example')}\n"), done
    assert SENTENCE.format("bad.example") in done.stdout.splitlines()[-1]


def test_a_refused_head_request_gets_no_body(rig: Rig) -> None:
    done = rig.run(
        "curl", "-sS", "-I", "http://bad.example/", "--resolve", f"bad.example:80:{SINKHOLE}"
    )
    assert done.returncode == 0
    assert "403 acme has disallowed" in done.stdout


def test_a_large_refused_upload_still_reads_why(rig: Rig) -> None:
    with rig.connect(FAR, 80) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: bad.example\r\nContent-Length: 200000\r\n\r\n")
        sock.sendall(bytes(200000))
        assert read_all(sock).startswith(b"HTTP/1.1 403 acme has disallowed")
        rig.call(lambda: None)
        # A close with the upload unread would be a reset, and could take the answer.
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_what_follows_a_chunked_body_is_decided(rig: Rig) -> None:
    web = Web("far")
    server = rig.listen(web)
    head = b"POST /u HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3\r\nabc\r\n0\r\n\r\n"
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(head + body + GET.replace(b"good", b"bad"))
        assert read_all(sock) == OK
    assert (len(web.heads), web.bodies) == (1, [body])
    rig.events.wait(verdict="refused", name="bad.example")


def test_a_pipelined_second_host_is_not_forwarded(rig: Rig) -> None:
    web = Web("far")
    server = rig.listen(web)
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(GET + GET.replace(b"good", b"bad"))
        assert read_all(sock) == OK
    assert len(web.heads) == 1
    event = rig.events.wait(verdict="refused")
    assert event.name == "bad.example"


@pytest.mark.parametrize("framing", ["Content-Length: {0}", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("near", [False, True], ids=["far", "near"])
def test_a_body_that_a_server_takes_for_the_next_request(
    rig: Rig, near: bool, framing: str
) -> None:
    """Servers that read no body of a GET (Python's http.server) see one request and the end."""
    heads: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        data = b""
        while more := sock.recv(65536):
            *complete, data = (data + more).split(b"\r\n\r\n")
            for head in complete:
                heads.append(head)
                sock.sendall(OK)
                if b"connection: close" in head.lower():
                    return

    hidden = GET.replace(b"good", b"bad")
    if near:
        hidden = b"CONNECT bad.example:443 HTTP/1.1\r\n\r\n"
    body = hidden if "Length" in framing else b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)
    field = framing.format(len(body)).encode()
    address = "127.0.0.1" if near else FAR
    server = rig.listen(serve, address)
    with rig.connect(address, server.port) as sock:
        sock.sendall(GET.replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n\r\n") + body)
        with contextlib.suppress(ConnectionResetError):  # that server closes with bytes unread
            read_all(sock)
    assert len(heads) == 1
    assert not any(b"bad.example" in head for head in heads)


def test_another_allowed_host_is_not_sent_to_the_first_ones_server(rig: Rig) -> None:
    rig.names.addresses["also.example"] = (OTHER,)
    web = Web("far")
    server = rig.listen(web)
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(GET)
        assert read_some(sock, len(OK)) == OK
        sock.sendall(GET.replace(b"good", b"also"))
        assert read_all(sock) == b""
    assert len(web.heads) == 1


@pytest.mark.parametrize("split", [1, 7, 1000])
def test_bodies_of_both_framings_pass_and_the_next_request_is_decided(rig: Rig, split: int) -> None:
    web = Web("far")
    server = rig.listen(web)
    head = b"POST /u HTTP/1.1\r\nHost: good.example\r\n"
    counted = head + b"Content-Length: 300\r\n\r\n" + b"x" * 300
    chunks = b"64\r\n" + b"y" * 100 + b"\r\n0\r\n\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    bad = GET.replace(b"good", b"bad")
    with rig.connect(FAR, server.port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for message in (counted, chunked):
            for at in range(0, len(message), split):
                sock.sendall(message[at : at + split])
            assert read_some(sock, len(OK)) == OK
        sock.sendall(bad)
        assert read_all(sock) == b""
    assert web.bodies == [b"x" * 300, chunks]
    rig.events.wait(verdict="refused", name="bad.example")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: good.example\r\nHost: bad.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : good.example\r\n\r\n",
        b"GET /\n\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_answered_400(rig: Rig, request_: bytes) -> None:
    server = rig.listen(Web("far"))
    rig.names.given[FAR] = frozenset({"good.example"})
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(request_)
        assert read_all(sock).startswith(b"HTTP/1.1 400 Malformed request: ")
    assert server.accepted == 0


@pytest.mark.parametrize("host", ["198.51.100.10", "[2001:db8::10]", "3325256714", "0xc6336410"])
def test_an_address_as_host_opens_nothing(rig: Rig, host: str) -> None:
    rig.names.given[FAR] = frozenset({"good.example"})
    with rig.connect(FAR, 80) as sock:
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert read_all(sock).startswith(b"HTTP/1.1 403 acme has disallowed access to ")


def _switch(sock: socket.socket) -> None:
    read_some(sock, sock.recv(1000, socket.MSG_PEEK).find(b"\r\n\r\n") + 4)
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello")
    echo(sock)


UPGRADE = b"GET /a HTTP/1.1\r\nHost: good.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"


def test_an_upgrade_that_was_taken_is_opaque(rig: Rig) -> None:
    server = rig.listen(_switch)
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(UPGRADE + b"\0opaque")
        answer = read_some(sock, 53 + 7)
        assert answer.endswith(b"hello\0opaque"), answer


def test_an_upgrade_that_was_not_taken_is_http_as_before(rig: Rig) -> None:
    web = Web("far")
    server = rig.listen(web)
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(UPGRADE)
        assert read_some(sock, len(OK)) == OK
        sock.sendall(GET)
        assert read_some(sock, len(OK)) == OK
        sock.sendall(GET.replace(b"good", b"bad"))
        assert read_all(sock) == b""
    assert len(web.heads) == 2


def test_an_upgrade_to_http2_never_reaches_the_server(rig: Rig) -> None:
    web = Web("far")
    server = rig.listen(web)
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(UPGRADE.replace(b"Upgrade: x", b"Upgrade: h2c"))
        assert read_all(sock) == OK
    assert b"pgrade" not in web.heads[0]


def test_a_connect_meant_for_any_proxy_is_answered_by_the_gate(rig: Rig) -> None:
    server = rig.listen(echo)
    with rig.connect(OTHER, 3128) as sock:
        sock.sendall(b"CONNECT good.example:%d HTTP/1.1\r\n\r\n" % server.port)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        sock.sendall(b"\0opaque")
        assert read_some(sock, 7) == b"\0opaque"
    with rig.connect(OTHER, 3128) as sock:
        sock.sendall(b"CONNECT bad.example:443 HTTP/1.1\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 403 acme has disallowed access to bad.example.")


def test_an_absolute_uri_is_answered_by_the_gate(rig: Rig) -> None:
    web = Web("far")
    server = rig.listen(web)
    with rig.connect(OTHER, 80) as sock:
        request = (
            b"GET http://good.example:%d/x HTTP/1.1\r\nHost: good.example\r\nProxy-X: 1\r\n\r\n"
        )
        sock.sendall(request % server.port)
        assert read_all(sock) == OK
    assert web.heads == [
        b"GET /x HTTP/1.1\r\nHost: good.example:%d\r\nConnection: close" % server.port
    ]
