"""What is near passes, except that a proxy there opens nothing and a denied name is denied."""

import pytest

from tests.gate.proxy.rig import (
    CONTAINER,
    FAR,
    HERE,
    SENTENCE,
    Certificates,
    Rig,
    Web,
    echo,
    hello,
    over_tls,
    read_all,
    read_some,
    speaks_first,
)

pytestmark = pytest.mark.lab

PLACES = ["127.0.0.1", "127.1.2.3", "::1", HERE, CONTAINER]


@pytest.mark.parametrize("place", PLACES)
def test_a_service_near_works_with_no_name_and_any_name(rig: Rig, place: str) -> None:
    server = rig.listen(echo, place)
    for first in (
        b"\0opaque",
        hello("anything.example"),
        hello(None),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        with rig.connect(place, server.port) as sock:
            sock.sendall(first)
            assert read_some(sock, len(first)) == first
    event = rig.events.wait(kind="near", verdict="allowed")
    assert event.original_destination is not None


def test_a_service_near_may_speak_first(rig: Rig) -> None:
    server = rig.listen(speaks_first, CONTAINER)
    with rig.connect(CONTAINER, server.port) as sock:
        assert read_some(sock, 13) == b"220 welcome\r\n"
        sock.sendall(b"\x80more")
        assert read_some(sock, 5) == b"\x80more"


def test_a_registry_on_localhost_works(rig: Rig) -> None:
    web = Web("here")
    server = rig.listen(web, "127.0.0.1")
    done = rig.run(
        "curl", "-sS", f"http://127.0.0.1:{server.port}/v2/", f"http://localhost:{server.port}/v2/"
    )
    assert done.stdout == "herehere", done


def test_a_denied_name_is_denied_near_too(rig: Rig, certificates: Certificates) -> None:
    server = rig.listen(over_tls(certificates.server("denied.example"), echo), "127.0.0.1")
    url = f"denied.example:{server.port}"
    to = ["--resolve", f"{url}:127.0.0.1", "--cacert", str(rig.authority)]
    for scheme in ("http", "https"):
        done = rig.run("curl", "-sS", "-i", *to, f"{scheme}://{url}/")
        assert SENTENCE.format("denied.example") in done.stdout, done


@pytest.mark.parametrize("place", PLACES)
def test_a_proxy_near_opens_nothing(rig: Rig, place: str) -> None:
    server = rig.listen(echo, place)
    for request in (
        b"CONNECT bad.example:443 HTTP/1.1\r\n\r\n",
        b"GET http://bad.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\nHost: bad.example\r\n\r\n",
    ):
        with rig.connect(place, server.port) as sock:
            sock.sendall(request)
            assert read_all(sock).startswith(b"HTTP/1.1 403 acme has disallowed access to bad")
    with rig.connect(place, server.port) as sock:
        sock.sendall(b"\x04\x01\x01\xbb\x00\x00\x00\x01me\0bad.example\0")
        assert read_all(sock) == b"\x00\x5b" + bytes(6)


def test_a_connect_near_is_dialled_by_the_gate(rig: Rig) -> None:
    near = rig.listen(echo, "127.0.0.1")
    far = rig.listen(echo, FAR)
    with rig.connect("127.0.0.1", near.port) as sock:
        sock.sendall(b"CONNECT good.example:%d HTTP/1.1\r\n\r\n" % far.port)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        sock.sendall(b"\0")
        assert sock.recv(1) == b"\0"
    assert far.accepted == 1


def test_a_connect_after_a_harmless_request_opens_nothing(rig: Rig) -> None:
    web = Web("here")
    server = rig.listen(web, "127.0.0.1")
    with rig.connect("127.0.0.1", server.port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(100).endswith(b"here")
        sock.sendall(b"CONNECT bad.example:443 HTTP/1.1\r\n\r\n")
        assert read_all(sock) == b""
    assert len(web.heads) == 1


def test_nobody_there_is_a_reset(rig: Rig) -> None:
    with pytest.raises(ConnectionResetError), rig.connect("127.0.0.1", 9) as sock:
        sock.recv(1)


def test_the_explicit_proxy_reached_by_a_redirect_is_the_explicit_proxy(rig: Rig) -> None:
    with rig.connect("127.0.0.1", 3128) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 400 This is a proxy")
