"""``enforce = false``: what would be refused passes as the client meant it, and is recorded."""

import pytest

from tests.gate.proxy.rig import (
    EXPLICIT,
    FAR,
    OTHER,
    POLICY,
    Rig,
    echo,
    hello,
    read_some,
    was_reset,
)

pytestmark = pytest.mark.lab
AUDIT = "enforce = false" + POLICY
NAMELESS = b"SSH-2.0-x\r\n"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("name", ["evil.example", "denied.example", "not_a_name.example"])
def test_a_name_that_would_be_refused_goes_where_the_client_meant(rig: Rig, name: str) -> None:
    rig.set_policy(AUDIT)
    server = rig.listen(echo, OTHER)
    with rig.connect(OTHER, server.port) as sock:
        first = hello(name)
        sock.sendall(first)
        assert read_some(sock, len(first)) == first
        event = rig.events.wait(verdict="would-deny")  # while it is open
        assert (event.kind, event.name) == ("tls", name)
        rig.set_policy(POLICY)
        assert was_reset(sock)
    assert [event.verdict for event in rig.events.all] == ["would-deny"]


@pytest.mark.parametrize("said", [NAMELESS, b"GET / HTTP/1.0\r\n\r\n", HTTP2])
def test_what_tells_no_name_passes_until_the_policy_is_enforced(rig: Rig, said: bytes) -> None:
    rig.set_policy(AUDIT)
    server = rig.listen(echo, OTHER)
    with rig.connect(OTHER, server.port) as sock:
        sock.sendall(said)
        assert read_some(sock, len(said)) == said
        assert (
            rig.events.wait(verdict="would-deny").original_destination == f"{OTHER}:{server.port}"
        )
        rig.set_policy(POLICY)
        assert was_reset(sock)


def test_an_allowed_name_is_treated_as_ever(rig: Rig) -> None:
    rig.set_policy(AUDIT)
    there = rig.listen(echo)
    elsewhere = rig.listen(echo, OTHER, there.port)
    with rig.connect(OTHER, there.port) as sock:
        sock.sendall(hello("good.example"))
        assert sock.recv(1) == b"\x16"
        rig.set_policy(POLICY)
        sock.sendall(b"more")
        assert sock.recv(1)
    assert (there.accepted, elsewhere.accepted) == (1, 0)
    rig.events.wait(verdict="allowed", name="good.example")


def test_a_connect_to_a_name_that_would_be_refused(rig: Rig) -> None:
    rig.set_policy(AUDIT)
    rig.names.addresses["evil.example"] = (FAR,)
    server = rig.listen(echo)
    with rig.connect("127.0.0.1", EXPLICIT) as sock:
        sock.sendall(f"CONNECT evil.example:{server.port} HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " in sock.recv(4096)
        sock.sendall(NAMELESS)
        assert read_some(sock, len(NAMELESS)) == NAMELESS
    assert rig.events.wait(verdict="would-deny").kind == "connect"
    assert rig.call(rig.proxy.status)["would_deny"] == 1


SOCKS5 = b"\x05\x01\x00\x03\x0cevil.example"
SOCKS4A = b"\x04\x01%s\x00\x00\x00\x01me\x00evil.example\x00"


@pytest.mark.parametrize("version", [4, 5])
def test_a_socks_request_for_a_name_that_would_be_refused(rig: Rig, version: int) -> None:
    """Meant for a proxy somewhere far, as a client with ALL_PROXY sends it."""
    rig.set_policy(AUDIT)
    rig.names.addresses["evil.example"] = (FAR,)
    server = rig.listen(echo)
    port = server.port.to_bytes(2, "big")
    with rig.connect(OTHER, 1080) as sock:
        if version == 5:
            sock.sendall(b"\x05\x01\x00")
            assert read_some(sock, 2) == b"\x05\x00"
            sock.sendall(SOCKS5 + port)
            assert read_some(sock, 10)[:2] == b"\x05\x00"
        else:
            sock.sendall(SOCKS4A % port)
            assert read_some(sock, 8)[:2] == b"\x00\x5a"
        sock.sendall(NAMELESS)
        assert read_some(sock, len(NAMELESS)) == NAMELESS
        event = rig.events.wait(verdict="would-deny")
        assert (event.kind, event.name) == ("socks", "evil.example")
        rig.set_policy(POLICY)
        assert was_reset(sock)
    assert server.accepted == 1


@pytest.mark.parametrize("addresses", [(), (FAR,)], ids=["not found", "nobody listens"])
def test_an_allowed_name_that_leads_nowhere_goes_where_the_client_meant(
    rig: Rig, addresses: tuple[str, ...]
) -> None:
    """Where resolution of ours fails, an enforced policy would break what works today: told."""
    rig.names.addresses = {"good.example": addresses} if addresses else {}
    server = rig.listen(echo, OTHER)
    first = hello("good.example")
    with rig.connect(OTHER, server.port) as sock:  # enforced: nothing of the kind
        sock.sendall(first)
        assert was_reset(sock)
    assert server.accepted == 0
    rig.set_policy(AUDIT)
    with rig.connect(OTHER, server.port) as sock:
        sock.sendall(first)
        assert read_some(sock, len(first)) == first
        event = rig.events.wait(verdict="would-deny")
        assert (event.kind, event.name) == ("tls", "good.example")
        assert event.reason
        rig.set_policy(POLICY)
        assert was_reset(sock)


def test_latencies_are_observed_once_for_each_connection(rig: Rig) -> None:
    rig.set_policy(AUDIT)
    server = rig.listen(echo, OTHER)
    for said in (hello("evil.example"), NAMELESS):
        with rig.connect(OTHER, server.port) as sock:
            sock.sendall(said)
            assert read_some(sock, len(said)) == said
    status = rig.call(rig.proxy.status)
    assert status["would_deny"] == 2
    for key in ("decision_latency", "join_latency"):
        assert sum(status[key]["counts"]) == 2
        assert status[key]["sum_s"] > 0
