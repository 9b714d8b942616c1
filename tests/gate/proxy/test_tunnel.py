"""Tunnels by CONNECT and SOCKS, through the explicit proxy and through any other's address."""

import queue
import socket
import ssl
from pathlib import Path

import pytest

from ramnet.config import Proxy
from tests.gate.proxy.rig import (
    FAR,
    OTHER,
    SENTENCE,
    Certificates,
    Rig,
    Web,
    echo,
    hello,
    over_tls,
    read_all,
    read_some,
    rig_in,
    speaks_first,
    was_reset,
)

pytestmark = pytest.mark.lab

PROXY = "http://127.0.0.1:3128"


def connect(rig: Rig, name: str, port: int) -> socket.socket:
    sock = rig.connect("127.0.0.1", 3128, uid=0)
    try:
        sock.sendall(f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode())
    except OSError:
        sock.close()
        raise
    return sock


def open_tunnel(rig: Rig, name: str, port: int) -> socket.socket:
    sock = connect(rig, name, port)
    established = b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert read_some(sock, len(established)) == established
    return sock


def test_curl_through_the_explicit_proxy(rig: Rig, certificates: Certificates) -> None:
    server = rig.listen(over_tls(certificates.server("good.example"), Web("secure")))
    plain = rig.listen(Web("plain"))
    with (
        open_tunnel(rig, "good.example", server.port) as raw,
        certificates.client().wrap_socket(raw, server_hostname="good.example") as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n")
        assert tls.recv(1000).endswith(b"secure")
    done = rig.run("curl", "-sS", "-x", PROXY, f"http://good.example:{plain.port}/")
    assert done.stdout == "plain", done
    event = rig.events.wait(kind="tls", verdict="allowed")
    assert (event.name, event.port) == ("good.example", server.port)


def test_a_refused_connect_says_why_in_its_reason_phrase(rig: Rig) -> None:
    with connect(rig, "bad.example", 443) as sock:
        answer = read_all(sock).decode()
    assert answer.startswith(f"HTTP/1.1 403 {SENTENCE.format('bad.example')}\r\n")
    assert '"code": "UNSUPPORTED"' in answer
    done = rig.run("curl", "-sS", "-i", "-x", PROXY, "http://bad.example/")
    assert done.stdout.startswith(f"HTTP/1.1 403 {SENTENCE.format('bad.example')}\n")
    rig.events.wait(kind="connect", verdict="refused", name="bad.example", port=443)
    rig.events.wait(kind="http", verdict="refused", name="bad.example", port=80)


@pytest.mark.parametrize("host", [FAR, "[2001:db8::10]", "127.0.0.1", "127.1", "2130706433"])
def test_connect_to_an_address_is_refused(rig: Rig, host: str) -> None:
    rig.names.given[FAR] = frozenset({"good.example"})
    with connect(rig, host, 443) as sock:
        assert read_all(sock).startswith(b"HTTP/1.1 403 ")


def test_a_connect_that_cannot_be_dialled_is_502(rig: Rig) -> None:
    with connect(rig, "good.example", 9) as sock:
        assert read_all(sock).startswith(
            b"HTTP/1.1 502 good.example could not be reached: Connection refused (ramnet)"
        )
    with connect(rig, "also.example", 9) as sock:
        assert read_all(sock).startswith(b"HTTP/1.1 502 also.example could not be resolved")


def test_a_name_that_leads_to_the_gate_is_not_dialled(rig: Rig) -> None:
    rig.names.addresses["good.example"] = ("127.0.0.1",)
    with connect(rig, "good.example", 3128) as sock:
        assert read_all(sock).startswith(b"HTTP/1.1 502 good.example is the gate itself")


def test_another_refused_name_inside_is_answered_inside_tls(rig: Rig) -> None:
    received: queue.Queue[bytes] = queue.Queue()
    server = rig.listen(lambda sock: received.put(sock.recv(100)))
    context = ssl.create_default_context(cafile=str(rig.authority))
    with (
        open_tunnel(rig, "good.example", server.port) as raw,
        context.wrap_socket(raw, server_hostname="bad.example") as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n")
        assert read_all(tls).startswith(b"HTTP/1.1 403 acme has disallowed access to bad.example")
    assert received.get(timeout=10) == b""


def test_another_allowed_name_inside_goes_to_its_own_addresses(rig: Rig) -> None:
    rig.names.addresses["also.example"] = (OTHER,)
    received: queue.Queue[bytes] = queue.Queue()
    server = rig.listen(lambda sock: received.put(sock.recv(100)))
    there = rig.listen(echo, OTHER, server.port)
    with open_tunnel(rig, "good.example", server.port) as sock:
        sock.sendall(hello("also.example"))
        assert sock.recv(1) == b"\x16"
    assert there.accepted == 1
    assert received.get(timeout=10) == b""


def test_plain_http_inside_is_decided_each_time(rig: Rig) -> None:
    web = Web("far")
    server = rig.listen(web)
    get = b"GET / HTTP/1.1\r\nHost: %s.example\r\n\r\n"
    with open_tunnel(rig, "good.example", server.port) as sock:
        sock.sendall(get % b"bad")
        assert read_all(sock).startswith(b"HTTP/1.1 403 acme")
    with open_tunnel(rig, "good.example", server.port) as sock:
        sock.sendall(get % b"good")
        assert sock.recv(100).endswith(b"far")
        sock.sendall(get % b"bad")
        assert read_all(sock) == b""
    assert len(web.heads) == 1


@pytest.mark.parametrize(
    "inner",
    [b"CONNECT good.example:443 HTTP/1.1\r\n\r\n", b"GET http://good.example/ HTTP/1.1\r\n\r\n"],
)
def test_a_proxy_request_inside_a_tunnel_is_refused(rig: Rig, inner: bytes) -> None:
    server = rig.listen(echo)
    with open_tunnel(rig, "good.example", server.port) as sock:
        sock.sendall(inner)
        assert read_all(sock).startswith(b"HTTP/1.1 400 A proxy request inside a tunnel")


def test_socks_inside_a_tunnel_is_refused(rig: Rig) -> None:
    server = rig.listen(echo)
    with open_tunnel(rig, "good.example", server.port) as sock:
        sock.sendall(b"\x05\x01\x00")
        assert was_reset(sock)


def test_opaque_protocols_pass_inside_whoever_speaks_first(rig: Rig) -> None:
    server = rig.listen(speaks_first)
    with open_tunnel(rig, "good.example", server.port) as sock:
        assert read_some(sock, 13) == b"220 welcome\r\n"
        sock.sendall(b"\x80mine")
        assert read_some(sock, 5) == b"\x80mine"


def test_what_is_pipelined_behind_a_connect_is_inside(rig: Rig) -> None:
    server = rig.listen(echo)
    with rig.connect("127.0.0.1", 3128, uid=0) as sock:
        request = f"CONNECT good.example:{server.port} HTTP/1.1\r\n\r\n".encode()
        sock.sendall(request + hello("bad.example"))
        read_some(sock, 39)
        assert sock.recv(1) in (b"\x15", b"\x16")
    rig.events.wait(kind="tls", verdict="refused", name="bad.example")


def test_origin_form_to_the_explicit_proxy_is_told_what_it_is(rig: Rig) -> None:
    done = rig.run("curl", "-sS", "-i", PROXY)
    assert done.stdout.startswith("HTTP/1.1 400 This is a proxy"), done


def test_an_https_uri_is_told_to_use_connect(rig: Rig) -> None:
    with rig.connect("127.0.0.1", 3128, uid=0) as sock:
        sock.sendall(b"GET https://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 400 Use CONNECT")


def test_only_one_absolute_request_a_connection(rig: Rig) -> None:
    web = Web("far")
    server = rig.listen(web)
    request = b"POST http://good.example:%d/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
    request = (request % server.port).replace(b"Host: x", b"Host: good.example")
    with rig.connect("127.0.0.1", 3128, uid=0) as sock:
        sock.sendall(request * 2)
        assert read_all(sock).count(b"200 OK") == 1
        rig.call(lambda: None)
        # A close with the second request unread would be a reset, and could take the answer.
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert web.bodies == [b"ab"]


def test_only_listed_clients_may_use_the_explicit_proxy(tmp_path: Path) -> None:
    settings = Proxy(explicit=["127.0.0.1:3128"], explicit_clients=["192.0.2.0/24"])
    with rig_in(tmp_path, proxy=settings) as rig:
        # The close may come before anything was asked: a reset, or nobody to write to.
        closed = (ConnectionResetError, BrokenPipeError)
        with pytest.raises(closed), connect(rig, "good.example", 443) as sock:
            sock.recv(1)
        rig.events.wait(verdict="refused", reason="127.0.0.1 may not use the explicit proxy")


@pytest.mark.parametrize("scheme", ["socks4a", "socks5h"])
@pytest.mark.parametrize("via", ["127.0.0.1:3128", f"{OTHER}:1080"])
@pytest.mark.parametrize("user", ["", "me:secret@"])
def test_socks_is_decided_by_name(rig: Rig, scheme: str, via: str, user: str) -> None:
    server = rig.listen(Web("far"))
    proxy = f"{scheme}://{user}{via}"
    done = rig.run("curl", "-sS", "-x", proxy, f"http://good.example:{server.port}/")
    assert done.stdout == "far", done
    done = rig.run("curl", "-sS", "-x", proxy, f"http://bad.example:{server.port}/")
    assert done.returncode == 97, done
    rig.events.wait(kind="socks", verdict="refused", name="bad.example", port=server.port)
    assert server.accepted == 1


def test_socks_other_than_connect_is_refused(rig: Rig) -> None:
    for command, name in ((2, "BIND"), (3, "UDP ASSOCIATE")):
        with rig.connect(OTHER, 1080) as sock:
            sock.sendall(b"\x05\x01\x00")
            assert read_some(sock, 2) == b"\x05\x00"
            sock.sendall(bytes((5, command, 0, 3, 12)) + b"good.example\x01\xbb")
            assert read_some(sock, 10)[:2] == b"\x05\x07", name


def test_a_socks_tunnel_decides_the_inner_name_too(rig: Rig) -> None:
    server = rig.listen(echo)
    with rig.connect(OTHER, 1080) as sock:
        sock.sendall(b"\x05\x01\x00")
        read_some(sock, 2)
        sock.sendall(b"\x05\x01\x00\x03\x0cgood.example" + server.port.to_bytes(2, "big"))
        assert read_some(sock, 10)[:2] == b"\x05\x00"
        sock.sendall(hello("bad.example"))
        assert sock.recv(1) in (b"\x15", b"\x16")
    rig.events.wait(kind="tls", verdict="refused", name="bad.example")
