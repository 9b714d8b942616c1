"""How a refusal looks: certificates, alerts, words."""

import asyncio
import json
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from ramnet.config import Denial
from ramnet.gate.denial.answer import http_answer, refusal
from ramnet.gate.denial.authority import Issuer, create_authority
from ramnet.gate.denial.handshake import TlsDenial
from ramnet.gate.proxy import limits
from ramnet.wire.http import RequestHead, read_request_head
from tests.gate.proxy.rig import SINKHOLE, Rig, hello, read_all, rig_in


def test_a_leaf_verifies_for_its_name_alone(tmp_path: Path) -> None:
    certificate, key = create_authority("acme " * 30)
    leaf = Issuer(certificate, key).issue("bad.example")
    (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "leaf.pem").write_bytes(leaf)
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver"]
    for name, code in (("bad.example", 0), ("good.example", 2)):
        command = [*verify, "-CAfile", "ca.pem", "-verify_hostname", name, "leaf.pem"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == code, done
    text = subprocess.run(
        ["openssl", "x509", "-in", "leaf.pem", "-noout", "-text"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "DNS:bad.example" in text
    assert "TLS Web Server Authentication" in text
    assert "CA:FALSE" in text
    assert "Not Before: Jan  1 00:00:00 2020" in text


def test_a_leaf_cannot_sign(tmp_path: Path) -> None:
    certificate, _ = create_authority("acme")
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-text"], input=certificate, capture_output=True, check=True
    ).stdout.decode()
    assert "CA:TRUE, pathlen:0" in text
    assert "Certificate Sign, CRL Sign" in text
    assert "Digital Signature" not in text
    with pytest.raises(ValueError, match="PEM"):
        Issuer(certificate, b"no key")


def test_no_two_authorities_are_alike() -> None:
    assert create_authority("acme")[1] != create_authority("acme")[1]


def test_the_answer_is_the_registrys_json_and_one_line() -> None:
    answer = http_answer(403, "no\r\nX: y é", "nö")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 403 no??X: y ?"
    assert json.loads(body) == {"errors": [{"code": "UNSUPPORTED", "message": "nö"}]}
    assert f"Content-Length: {len(body)}".encode() in head
    assert http_answer(403, "no", "no", body=False).endswith(b"\r\n\r\n")


def test_contexts_are_kept_but_not_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LEAVES_KEPT", 3)
    for name, data in zip(("ca", "key"), create_authority("acme"), strict=True):
        (tmp_path / name).write_bytes(data)
    denial = TlsDenial(str(tmp_path / "ca"), str(tmp_path / "key"))
    before = len(list(Path("/proc/self/fd").iterdir()))

    async def ask() -> None:
        first = await denial._context("a.example")
        for name in ("b.example", "a.example", "c.example", "d.example"):
            assert await denial._context(name) is not None
        assert await denial._context("a.example") is first

    asyncio.run(ask())
    assert set(denial._contexts) == {"a.example", "c.example", "d.example"}
    assert len(list(Path("/proc/self/fd").iterdir())) == before


ALERT = bytes((21, 3, 3, 0, 2, 2, 49))


@pytest.mark.lab
def test_without_an_authority_it_is_an_alert(tmp_path: Path) -> None:
    with rig_in(tmp_path, ca_certificate=None, ca_key=None) as rig:
        _expect_alert(rig)


@pytest.mark.lab
def test_an_authority_that_is_not_there_is_an_alert(tmp_path: Path) -> None:
    with rig_in(tmp_path, ca_key="/nonexistent/key") as rig:
        _expect_alert(rig)


@pytest.mark.lab
def test_where_alerts_are_wanted_it_is_an_alert(tmp_path: Path) -> None:
    with rig_in(tmp_path, denial=Denial(tls="alert")) as rig:
        _expect_alert(rig)
        done = rig.run(
            "openssl", "s_client", "-connect", f"{SINKHOLE}:443", "-servername", "bad.example"
        )
        assert "alert access denied" in done.stderr, done


def _expect_alert(rig: Rig) -> None:
    with rig.connect(SINKHOLE, 443) as sock:
        sock.sendall(hello("bad.example"))
        assert read_all(sock) == ALERT
    rig.events.wait(kind="tls", verdict="refused", name="bad.example")


@pytest.mark.lab
def test_what_is_no_proper_name_gets_no_certificate(rig: Rig) -> None:
    """A certificate for ``*.example`` would cover names that are allowed."""
    with rig.connect(SINKHOLE, 443) as sock:
        sock.sendall(hello("xx.example").replace(b"xx.example", b"*..example"))
        assert read_all(sock) == ALERT


@pytest.mark.lab
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_and_a_client_that_offers_http2(rig: Rig, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(rig.authority))
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        rig.connect(SINKHOLE, 443) as raw,
        context.wrap_socket(raw, server_hostname="bad.example") as tls,
    ):
        assert tls.selected_alpn_protocol() == "http/1.1"
        tls.sendall(b"POST /v2/ HTTP/1.1\r\nHost: bad.example\r\nContent-Length: 9\r\n\r\n")
        assert tls.recv(1000).startswith(b"HTTP/1.1 403 acme")


@pytest.mark.lab
def test_clients_that_break_off_the_handshake_leave_nothing(rig: Rig) -> None:
    untrusting = ssl.create_default_context()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with rig.connect(SINKHOLE, 443) as raw, pytest.raises(ssl.SSLError):
            untrusting.wrap_socket(raw, server_hostname="bad.example")
        with rig.connect(SINKHOLE, 443) as raw:
            raw.sendall(hello("bad.example"))
            raw.recv(10)
    while rig.call(rig.proxy.status)["open"]:
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_it_is_not_needed_to_read_the_key_twice(tmp_path: Path) -> None:
    for name, data in zip(("ca", "key"), create_authority("acme"), strict=True):
        (tmp_path / name).write_bytes(data)
    denial = TlsDenial(str(tmp_path / "ca"), str(tmp_path / "key"))
    assert asyncio.run(denial._context("a.example")) is not None
    (tmp_path / "key").unlink()
    assert asyncio.run(denial._context("b.example")) is not None


def test_a_refusal_cancelled_before_it_begins_closes_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancel() -> None:
        loading = asyncio.Event()

        async def for_ever(_self: TlsDenial, _name: str) -> None:
            loading.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(TlsDenial, "_context", for_ever)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            denial = TlsDenial(str(tmp_path), str(tmp_path))
            task = asyncio.create_task(denial.refuse(ours, "a.example", lambda _: b""))
            await loading.wait()
            task.cancel()
            await asyncio.wait([task])
            assert (task.cancelled(), ours.fileno()) == (True, -1)

    asyncio.run(cancel())


@pytest.mark.parametrize(
    ("request_", "status", "has_body"),
    [
        (b"GET /v2/x/blobs/sha256:1 HTTP/1.1", b"403", True),
        (b"HEAD /v2/x/manifests/1 HTTP/1.1", b"403", False),
        (b"HEAD /v2/x/y/blobs/sha256:1 HTTP/1.1", b"404", False),
        (b"POST /v2/x/blobs/uploads/ HTTP/1.1", b"403", True),
    ],
)
def test_a_layer_asked_for_by_head_is_told_404(
    request_: bytes, status: bytes, has_body: bool
) -> None:
    """So that ``docker push`` goes on to the POST whose answer it reads."""
    head = read_request_head(request_ + b"\r\nHost: bad.example\r\n\r\n")
    assert isinstance(head, RequestHead)
    answer = refusal("no", "no", head)
    assert answer.split()[1] == status
    assert answer.endswith(b"\r\n\r\n") is not has_body
