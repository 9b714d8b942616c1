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
