"""Names are sent to a parent proxy, which resolves them."""

import base64
import socket
from pathlib import Path

import pytest

from ramnet.config import Proxy
from tests.gate.proxy.rig import (
    FAR,
    OTHER,
    Certificates,
    Web,
    hello,
    over_tls,
    read_all,
    read_some,
    rig_in,
    was_reset,
)

pytestmark = pytest.mark.lab


class ParentProxy:
    """Answers CONNECT by echoing what follows, other requests as a web server."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n") -> None:
        self.answer = answer
        self.heads: list[bytes] = []

    def __call__(self, sock: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        self.heads.append(head)
        if not head.startswith(b"CONNECT"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nparent")
            return
        sock.sendall(self.answer + rest)
        while more := sock.recv(65536):
            sock.sendall(more)


def _settings(port: int, scheme: str = "http") -> Proxy:
    return Proxy(
        explicit=["127.0.0.1:3128"],
        parent=f"{scheme}://us%40er:p%3Aw@parent.example:{port}",
        direct=["also.example", ".direct.example"],
    )


CREDENTIALS = b"Proxy-Authorization: Basic " + base64.b64encode(b"us@er:p:w")


def test_an_allowed_name_is_sent_to_the_parent_unresolved(tmp_path: Path) -> None:
    parent = ParentProxy()
    with rig_in(tmp_path, proxy=_settings(8080)) as rig:
        rig.names.addresses = {"parent.example": (OTHER,)}
        rig.listen(parent, OTHER, 8080)
        first = hello("good.example")
        with rig.connect(FAR, 443) as sock:
            sock.sendall(first)
            assert read_some(sock, len(first)) == first
        with rig.connect("127.0.0.1", 3128) as sock:
            sock.sendall(b"CONNECT good.example:444 HTTP/1.1\r\n\r\n")
            assert read_some(sock, 39).startswith(b"HTTP/1.1 200 ")
            sock.sendall(first)
            assert read_some(sock, len(first)) == first
        assert rig.names.asked == ["parent.example"] * 2
    assert parent.heads[0].startswith(b"CONNECT good.example:443 HTTP/1.1\r\n")
    assert parent.heads[1].startswith(b"CONNECT good.example:444 HTTP/1.1\r\n")
    assert all(CREDENTIALS in head for head in parent.heads)


def test_a_refused_name_is_not_sent_to_the_parent(tmp_path: Path) -> None:
    parent = ParentProxy()
    with rig_in(tmp_path, proxy=_settings(8080)) as rig:
        rig.names.addresses = {"parent.example": (OTHER,)}
        rig.listen(parent, OTHER, 8080)
        for request in (b"CONNECT bad.example:443", b"GET http://bad.example/"):
            with rig.connect("127.0.0.1", 3128) as sock:
                sock.sendall(request + b" HTTP/1.1\r\nHost: bad.example\r\n\r\n")
                assert read_all(sock).startswith(b"HTTP/1.1 403 ")
        with rig.connect(FAR, 443) as sock:
            sock.sendall(hello("bad.example"))
            rig.events.wait(kind="tls", verdict="refused")
    assert parent.heads == []


def test_an_absolute_uri_goes_to_the_parent_as_it_is(tmp_path: Path) -> None:
    parent = ParentProxy()
    with rig_in(tmp_path, proxy=_settings(8080)) as rig:
        rig.names.addresses = {"parent.example": (OTHER,)}
        rig.listen(parent, OTHER, 8080)
        done = rig.run("curl", "-sS", "-x", "http://127.0.0.1:3128", "http://good.example/x")
        assert done.stdout == "parent", done
    assert parent.heads[0].startswith(b"GET http://good.example/x HTTP/1.1\r\n")
    assert CREDENTIALS in parent.heads[0]


def test_names_on_the_direct_list_do_without_it(tmp_path: Path) -> None:
    with rig_in(tmp_path, proxy=_settings(8080)) as rig:
        rig.names.addresses = {"also.example": (FAR,)}
        server = rig.listen(Web("direct"))
        done = rig.run(
            "curl", "-sS", "-x", "http://127.0.0.1:3128", f"http://also.example:{server.port}/x"
        )
        assert done.stdout == "direct", done


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"it answered 407"),
        (b"SSH-2.0-x\r\n", b"the response is not HTTP/1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000, b"the head is longer than 16384 bytes"),
    ],
)
def test_what_the_parent_refuses_is_502(tmp_path: Path, answer: bytes, words: bytes) -> None:
    with rig_in(tmp_path, proxy=_settings(8080)) as rig:
        rig.names.addresses = {"parent.example": (OTHER,)}
        rig.listen(ParentProxy(answer), OTHER, 8080)
        with rig.connect("127.0.0.1", 3128) as sock:
            sock.sendall(b"CONNECT good.example:443 HTTP/1.1\r\n\r\n")
            assert read_all(sock).startswith(b"HTTP/1.1 502 the parent proxy: " + words)
        with rig.connect(FAR, 443) as sock:
            sock.sendall(hello("good.example"))
            assert was_reset(sock)


def test_no_byte_behind_the_parents_answer_is_lost(tmp_path: Path) -> None:
    parent = ParentProxy(b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\n220 welcome\r\n")
    with rig_in(tmp_path, proxy=_settings(8080)) as rig:
        rig.names.addresses = {"parent.example": (OTHER,)}
        rig.listen(parent, OTHER, 8080)
        with rig.connect("127.0.0.1", 3128) as sock:
            sock.sendall(b"CONNECT good.example:22 HTTP/1.1\r\n\r\n")
            assert read_some(sock, 39 + 13).endswith(b"220 welcome\r\n")


def test_a_parent_over_tls(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.path))
    parent = ParentProxy()
    with rig_in(tmp_path, proxy=_settings(8443, "https")) as rig:
        rig.names.addresses = {"parent.example": (OTHER,)}
        rig.listen(over_tls(certificates.server("parent.example"), parent), OTHER, 8443)
        data = hello("good.example") + bytes(300_000)
        with rig.connect(FAR, 443) as sock:
            sock.sendall(data)
            assert read_some(sock, len(data)) == data
    assert parent.heads[0].startswith(b"CONNECT good.example:443")


def test_a_parent_whose_certificate_is_anothers_is_not_spoken_to(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.path))
    parent = ParentProxy()
    with rig_in(tmp_path, proxy=_settings(8443, "https")) as rig:
        rig.names.addresses = {"parent.example": (OTHER,)}
        rig.listen(over_tls(certificates.server("other.example"), parent), OTHER, 8443)
        with rig.connect("127.0.0.1", 3128) as sock:
            sock.sendall(b"CONNECT good.example:443 HTTP/1.1\r\n\r\n")
            assert read_all(sock).startswith(b"HTTP/1.1 502 the parent proxy: no TLS: ")
    assert parent.heads == []


def test_a_nameless_protocol_to_a_given_address_goes_by_its_name(tmp_path: Path) -> None:
    parent = ParentProxy()
    with rig_in(tmp_path, proxy=_settings(8080)) as rig:
        rig.names.addresses = {"parent.example": (OTHER,)}
        rig.names.given[FAR] = frozenset({"good.example"})
        rig.listen(parent, OTHER, 8080)
        with rig.connect(FAR, 22) as sock:
            sock.sendall(b"\x80opaque")
            assert read_some(sock, 7) == b"\x80opaque"
    assert parent.heads[0].startswith(b"CONNECT good.example:22 ")
