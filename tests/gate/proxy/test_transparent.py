"""Redirected connections to somewhere far: decided by name, joined to the name's addresses."""

import queue
import socket
import ssl

import pytest

from tests.gate.proxy.rig import (
    FAR,
    FAR6,
    OTHER,
    SENTENCE,
    SINKHOLE,
    Certificates,
    Rig,
    Web,
    echo,
    hello,
    over_tls,
    read_all,
    read_some,
    speaks_first,
    was_reset,
)

pytestmark = pytest.mark.lab


def test_allowed_tls_reaches_the_server_untouched(rig: Rig, certificates: Certificates) -> None:
    server = rig.listen(over_tls(certificates.server("good.example"), echo))
    with (
        rig.connect(FAR, server.port) as raw,
        certificates.client().wrap_socket(raw, server_hostname="good.example") as tls,
    ):
        tls.sendall(b"ping")
        assert tls.recv(4) == b"ping"
    event = rig.events.wait(verdict="allowed", kind="tls")
    assert (event.name, event.entry) == ("good.example", "good.example")
    assert event.original_destination == f"{FAR}:{server.port}"
    assert event.bytes_up > 300
    assert event.bytes_down > 500


def test_an_allowed_name_goes_to_its_own_address_whatever_the_client_dialled(rig: Rig) -> None:
    there = rig.listen(echo)
    elsewhere = rig.listen(echo, OTHER, there.port)
    with rig.connect(OTHER, there.port) as sock:
        first = hello("good.example")
        sock.sendall(first)
        assert read_some(sock, len(first)) == first
    assert (there.accepted, elsewhere.accepted) == (1, 0)


def test_of_several_addresses_the_clients_choice_is_taken(rig: Rig) -> None:
    rig.names.addresses["good.example"] = (FAR, OTHER)
    one = rig.listen(echo)
    two = rig.listen(echo, OTHER, one.port)
    with rig.connect(OTHER, one.port) as sock:
        sock.sendall(hello("good.example"))
        assert sock.recv(1) == b"\x16"
    assert (one.accepted, two.accepted) == (0, 1)


def test_a_dead_address_gives_way_to_the_next(rig: Rig) -> None:
    rig.names.addresses["good.example"] = (OTHER, FAR)
    server = rig.listen(echo)
    with rig.connect(OTHER, server.port) as sock:
        sock.sendall(hello("good.example"))
        assert sock.recv(1) == b"\x16"


def test_ipv6_is_the_same(rig: Rig) -> None:
    rig.names.addresses["good.example"] = (FAR6,)
    server = rig.listen(echo, FAR6)
    with rig.connect(FAR6, server.port) as sock:
        sock.sendall(hello("good.example"))
        assert sock.recv(1) == b"\x16"
    event = rig.events.wait(verdict="allowed")
    assert event.original_destination == f"[{FAR6}]:{server.port}"


@pytest.mark.parametrize(
    "name", ["bad.example", "denied.example", "xgood.example", "a.good.example"]
)
def test_a_refused_name_is_answered_inside_tls(rig: Rig, name: str) -> None:
    server = rig.listen(echo)
    rig.names.addresses[name] = (FAR,)
    done = rig.run(
        "curl", "-sS", "-i", "--http1.1", "--cacert", str(rig.authority), "--resolve",
        f"{name}:{server.port}:{SINKHOLE}", f"https://{name}:{server.port}/v2/",
    )  # fmt: skip
    assert done.stdout.startswith(f"HTTP/1.1 403 {SENTENCE.format(name)}\n"), done
    assert f'"message": "{SENTENCE.format(name)}"' in done.stdout
    assert server.accepted == 0
    assert rig.names.asked == []
    event = rig.events.wait(verdict="refused", kind="tls")
    assert event.name == name
    assert event.original_destination == f"{SINKHOLE}:{server.port}"


def test_a_refused_head_request_gets_no_body(rig: Rig) -> None:
    context = ssl.create_default_context(cafile=str(rig.authority))
    with (
        rig.connect(SINKHOLE, 443) as raw,
        context.wrap_socket(raw, server_hostname="bad.example") as tls,
    ):
        tls.sendall(b"HEAD /v2/x/manifests/1 HTTP/1.1\r\nHost: bad.example\r\n\r\n")
        answer = read_all(tls)
    assert answer.startswith(b"HTTP/1.1 403 acme has disallowed")
    assert answer.endswith(b"\r\n\r\n")


def test_the_port_counts(rig: Rig) -> None:
    rig.names.addresses["ports.example"] = (FAR,)
    server = rig.listen(echo, port=5000)
    with rig.connect(FAR, 5000) as sock:
        sock.sendall(hello("ports.example"))
        assert sock.recv(1) == b"\x16"
    with rig.connect(FAR, 5001) as sock:
        sock.sendall(hello("ports.example"))
        rig.events.wait(verdict="refused", name="ports.example", port=5001)
    assert server.accepted == 1


def test_no_server_name_opens_nothing_even_to_a_given_address(rig: Rig) -> None:
    rig.names.given[FAR] = frozenset({"good.example"})
    server = rig.listen(echo)
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(hello(None))
        assert was_reset(sock)
    assert server.accepted == 0


def test_an_unresolved_allowed_name_is_reset(rig: Rig) -> None:
    rig.names.addresses.clear()
    with rig.connect(FAR, 443) as sock:
        sock.sendall(hello("good.example"))
        assert was_reset(sock)
    event = rig.events.wait(name="good.example")
    assert event.reason == "good.example could not be resolved: no such name"


def test_a_hello_in_single_bytes_is_read(rig: Rig) -> None:
    server = rig.listen(echo)
    first = hello("good.example")
    with rig.connect(FAR, server.port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in first:
            sock.sendall(bytes((byte,)))
        assert read_some(sock, len(first)) == first


def test_a_cut_hello_is_reset(rig: Rig) -> None:
    with rig.connect(FAR, 443) as sock:
        sock.sendall(hello("good.example")[:100])
        sock.shutdown(socket.SHUT_WR)
        assert was_reset(sock)
    rig.events.wait(verdict="refused", kind="tls", reason="it ended in the middle")


def test_an_opaque_protocol_passes_to_a_given_address_only(rig: Rig) -> None:
    server = rig.listen(echo)
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(b"\x00\x01opaque")
        assert was_reset(sock)
    rig.names.given[FAR] = frozenset({"bad.example", "good.example"})
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(b"\x00\x01opaque")
        assert read_some(sock, 8) == b"\x00\x01opaque"
    event = rig.events.wait(verdict="allowed", kind="opaque")
    assert event.name == "good.example"


def test_a_server_that_speaks_first_is_heard(rig: Rig) -> None:
    rig.names.given[FAR] = frozenset({"good.example"})
    server = rig.listen(speaks_first)
    with rig.connect(FAR, server.port) as sock:
        assert read_some(sock, 13) == b"220 welcome\r\n"
        sock.sendall(b"\x80opaque")
        assert read_some(sock, 7) == b"\x80opaque"


def test_silence_to_an_unknown_address_is_reset(rig: Rig) -> None:
    server = rig.listen(speaks_first)
    with rig.connect(FAR, server.port) as sock:
        assert was_reset(sock)
    assert server.accepted == 0


@pytest.mark.parametrize("name", ["bad.example", None])
def test_tls_after_a_silence_is_decided_by_its_name(rig: Rig, name: str | None) -> None:
    rig.names.given[FAR] = frozenset({"good.example"})
    received: queue.Queue[bytes] = queue.Queue()

    def greet(sock: socket.socket) -> None:
        sock.sendall(b"220 welcome\r\n")
        try:
            received.put(sock.recv(100))
        except ConnectionResetError:
            received.put(b"")

    server = rig.listen(greet)
    with rig.connect(FAR, server.port) as sock:
        read_some(sock, 13)
        sock.sendall(hello(name))
        assert was_reset(sock)
    rig.events.wait(verdict="refused", kind="tls")
    assert received.get(timeout=10) == b""


def test_tls_after_a_silence_goes_to_its_own_name(rig: Rig) -> None:
    """Nothing was said yet, so the connection is moved to where the name is."""
    rig.names.given[OTHER] = frozenset({"good.example"})
    held = rig.listen(echo, OTHER)
    rig.names.addresses["also.example"] = (FAR,)
    there = rig.listen(echo, FAR, held.port)
    with rig.connect(OTHER, held.port) as sock:
        while not held.accepted:
            rig.call(lambda: None)
        sock.sendall(hello("also.example"))
        assert sock.recv(1) == b"\x16"
    assert there.accepted == 1


def test_http_after_a_silence_is_decided_by_its_host(rig: Rig) -> None:
    rig.names.given[FAR] = frozenset({"good.example"})
    server = rig.listen(Web("far"))
    with rig.connect(FAR, server.port) as sock:
        while not server.accepted:
            rig.call(lambda: None)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 403 acme has")


def test_connections_to_the_gate_itself_are_reset(rig: Rig) -> None:
    for uid in (0, 65534):
        with pytest.raises(ConnectionResetError), rig.connect("127.0.0.1", 928, uid) as sock:
            sock.recv(1)
        assert rig.events.all.pop().reason == "a connection to the gate itself"


def test_http2_without_tls_is_reset(rig: Rig) -> None:
    with rig.connect(FAR, 80) as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        assert was_reset(sock)


def test_without_restriction_everything_passes_until_there_is_one(rig: Rig) -> None:
    rig.set_policy('{"enabled": false, "standard_registries": [], "custom_registries": []}')
    server = rig.listen(echo, OTHER)
    with rig.connect(OTHER, server.port) as sock:
        sock.sendall(b"anything")
        assert read_some(sock, 8) == b"anything"
        rig.set_policy("docker_hub = true")
        assert was_reset(sock)
