"""ClientHellos that a gate might read in another way than the server."""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.attacks.tools import (
    ALLOWED,
    BLOCKED,
    EXPLICIT,
    client_hello,
    connect,
    connected,
    refused_tls,
)
from tests.lab import Capture, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import stray
from tests.unit.wire import hello

pytestmark = pytest.mark.lab

BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
_POST_QUANTUM = (51, hello.vector(2, b"\x11\xec" + hello.vector(2, b"k" * 1216)))
_PADDING = (21, b"\0" * 6000)


def sni(*names: str) -> hello.Extension:
    return hello.server_name(*(name.encode() for name in names))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def in_records(message: bytes, size: int) -> bytes:
    return hello.records(message, [size] * (len(message) // size))


@BOTH
@pytest.mark.parametrize("site", [ALLOWED, BLOCKED], ids=["allowed", "blocked"])
@pytest.mark.parametrize(
    ("segment", "record"), [(1, 16384), (700, 16384), (1400, 90), (97, 60), (16384, 60)]
)
def test_split_over_segments_and_records(
    enforced: Ramnet,
    vm: Vm,
    capture: Capture,
    family: int,
    site: at.Site,
    segment: int,
    record: int,
) -> None:
    """Post-quantum key shares make a hello larger than a segment; attackers make it smaller.

    Shown by: `MAX_RECORDS` 1 (the allowed one fails); `Judge.decide` allowing every name.
    """
    data = in_records(client_hello(site.name, _POST_QUANTUM), record)
    with connected(vm, ALLOWED.addresses[family], 443) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for piece in pieces(data, segment):
                sock.sendall(piece)
        answered = sock.recv(3)
    assert answered == b"\x16\x03\x03"
    assert not stray(capture)
    reached = capture.settle().sent_by_vm().to(ALLOWED.addresses[family]).port(443)
    assert bool(reached) == (site is ALLOWED)


WRONG = {
    "two-names-in-one-list": hello.message([sni(ALLOWED.name, BLOCKED.name)]),
    "two-lists": hello.message([sni(ALLOWED.name), sni(BLOCKED.name)]),
    "blocked-first": hello.message([sni(BLOCKED.name), sni(ALLOWED.name)]),
    "no-name": client_hello(None),
    "empty-name": hello.message([sni("")]),
    "empty-list": hello.message([sni()]),
    "nul-in-the-name": client_hello(f"{ALLOWED.name}\0.{BLOCKED.name}"),
    "an-address": client_hello(ALLOWED.ipv4),
    "another-type-of-name": hello.message([hello.server_name(ALLOWED.name.encode(), kind=1)]),
    "no-extensions": hello.message(None),
    "bytes-left-over": hello.message([sni(ALLOWED.name)], tail=b"x"),
    "wildcard": client_hello("*.allowed.example"),
    "with-a-port": client_hello(f"{ALLOWED.name}:443"),
    "with-a-blank": client_hello(f"{ALLOWED.name} "),
}


@BOTH
@pytest.mark.parametrize("message", WRONG.values(), ids=WRONG)
def test_no_one_name(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, message: bytes
) -> None:
    """Two SNI entries, no SNI, and what servers might make a name of.

    Shown by: malformed TLS and a missing server name both taken for opaque.
    """
    vm.run(["getent", "ahosts", ALLOWED.name]).check()
    with connected(vm, ALLOWED.addresses[family], 443) as sock:
        sock.sendall(hello.record(message))
        assert refused_tls(sock)
    assert not stray(capture)
    assert not capture.settle().sent_by_vm().to(ALLOWED.addresses[family])


@BOTH
@pytest.mark.parametrize("outer", [ALLOWED, BLOCKED], ids=["allowed", "blocked"])
def test_encrypted_client_hello(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, outer: at.Site
) -> None:
    """Decided by the outer name: it says whose server it is.

    Shown by: `Judge.decide` allowing every name.
    """
    with connected(vm, ALLOWED.addresses[family], 443) as sock:
        sock.sendall(hello.record(client_hello(outer.name, hello.encrypted(0))))
        assert sock.recv(3) == b"\x16\x03\x03"
    reached = capture.settle().sent_by_vm().to(ALLOWED.addresses[family]).port(443)
    assert bool(reached) == (outer is ALLOWED)
    assert not stray(capture)


BEFORE = {
    "alert": b"\x15\x03\x01\x00\x02\x01\x00",
    "change-cipher-spec": b"\x14\x03\x01\x00\x01\x01",
    "empty-record": b"\x16\x03\x01\x00\x00",
    "sslv2": b"\x80\x2e\x01\x03\x01",
    "application-data": b"\x17\x03\x01\x00\x01x",
}


@BOTH
@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_something_before_the_hello(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, before: bytes
) -> None:
    """OpenSSL and Go skip some records; a gate that takes them for no TLS is got round.

    Shown by: malformed TLS taken for opaque.
    """
    vm.run(["getent", "ahosts", ALLOWED.name]).check()
    with connected(vm, ALLOWED.addresses[family], 443) as sock:
        sock.sendall(before + hello.record(client_hello(BLOCKED.name)))
        assert refused_tls(sock)
    assert not capture.settle().sent_by_vm().to(ALLOWED.addresses[family])
    assert not stray(capture)


@pytest.mark.parametrize("proxy", [EXPLICIT, (at.ANYWHERE.ipv4, 8080), (at.ANYWHERE.ipv6, 8080)])
@pytest.mark.parametrize("size", [16384, 60], ids=["whole", "split"])
def test_connect_allowed_then_another_server_name(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: tuple[str, int], size: int
) -> None:
    """gh-aw-firewall: the CONNECT was decided and the SNI inside was not.

    Shown by: `_open_tunnel` without its guard.
    """
    with connected(vm, *proxy) as sock:
        sock.sendall(connect(f"{ALLOWED.name}:443"))
        assert b" 200 " in sock.recv(4096)
        sock.sendall(in_records(client_hello(BLOCKED.name), size))
        assert refused_tls(sock)
    assert not capture.settle().sent_by_vm().mentioning(BLOCKED.name)
    assert not stray(capture)


@BOTH
def test_an_allowed_hello_too_large(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int
) -> None:
    """A hello that never ends is refused, and costs no more than its limit.

    Shown by: `MAX_HELLO` and `MAX_RECORDS` a thousand times as large.
    """
    endless = b"\x01\xff\xff\xff" + client_hello(ALLOWED.name)[4:]
    with connected(vm, ALLOWED.addresses[family], 443) as sock:
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                sock.sendall(hello.record(endless + b"\0" * 16000))
        assert refused_tls(sock)
    assert not capture.settle().sent_by_vm().to(ALLOWED.addresses[family])


@BOTH
def test_a_hello_after_a_silence(enforced: Ramnet, vm: Vm, capture: Capture, family: int) -> None:
    """First bytes are decided whenever they come, also after the gate has joined in silence.

    Shown by: `_join_by_address` without its guard.
    """
    vm.run(["getent", "ahosts", ALLOWED.name]).check()
    with connected(vm, ALLOWED.addresses[family], 443) as sock:
        sock.settimeout(0.7)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert capture.settle().sent_by_vm().to(ALLOWED.addresses[family]).port(443)
        sock.settimeout(5)
        sock.sendall(hello.record(client_hello(BLOCKED.name)))
        assert refused_tls(sock)
    assert not capture.settle().sent_by_vm().mentioning(BLOCKED.name)
    assert not stray(capture)
