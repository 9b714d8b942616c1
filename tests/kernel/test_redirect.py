"""Tier redirect in a real kernel: what goes to the gate, what is refused, what passes."""

import contextlib
import errno
import socket

import pytest

from ramnet.kernel.enforcer import Enforcer
from tests.kernel.conftest import FAR4, FAR6, VM4, Wire, client, listener, original_destination
from tests.lab.host import Host

Hosts = tuple[Host, Host]
BOTH = pytest.mark.parametrize(
    ("family", "far"), [(socket.AF_INET, FAR4), (socket.AF_INET6, FAR6)], ids=["ipv4", "ipv6"]
)


@BOTH
@pytest.mark.parametrize("port", [22, 80, 443, 5000, 9418])
def test_every_tcp_port_comes_to_the_proxy(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str, port: int
) -> None:
    with client(hosts[0], family) as sock:
        sock.connect((far, port))
        accepted, _ = listener(installed, "transparent", family).accept()
        with accepted:
            assert original_destination(accepted) == (far, port)
    assert wire.sent() == []


@BOTH
@pytest.mark.parametrize("loopback", [False, True])
def test_dns_comes_to_the_resolver_wherever_it_was_meant_for(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str, loopback: bool
) -> None:
    here = "127.0.0.53" if family == socket.AF_INET else "::1"
    server = (here if loopback else far, 53)
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
        sock.connect(server)
        sock.send(b"question")
        resolver = listener(installed, "dns-udp", family)
        question, asker = resolver.recvfrom(512)
        resolver.sendto(b"answer", asker)
        assert (question, sock.recv(512)) == (b"question", b"answer")
    with client(hosts[0], family) as sock:
        sock.connect(server)
        listener(installed, "dns-tcp", family).accept()[0].close()
    assert wire.sent() == []


@BOTH
@pytest.mark.parametrize("port", [443, 853, 123, 4789, 5353, 40000])
def test_udp_is_refused_at_once(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str, port: int
) -> None:
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
        sock.connect((far, port))
        with pytest.raises(OSError) as raised:
            sock.send(b"out")
            sock.recv(1)
    assert raised.value.errno in (errno.EPERM, errno.ECONNREFUSED)
    assert wire.sent() == []


@BOTH
def test_dns_over_tls_is_reset(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    with client(hosts[0], family) as sock, pytest.raises(ConnectionRefusedError):
        sock.connect((far, 853))
    assert wire.sent() == []


@pytest.mark.parametrize("protocol", [1, 4, 41, 47, 50, 132, 253])
def test_other_protocols_are_refused(
    hosts: Hosts, wire: Wire, installed: Enforcer, protocol: int
) -> None:
    echo_request = b"\x08\x00\xf7\xff\x00\x00\x00\x00"
    with (
        hosts[0].socket(socket.AF_INET, socket.SOCK_RAW, protocol) as sock,
        pytest.raises(PermissionError),
    ):
        sock.sendto(echo_request, (FAR4, 0))
    assert wire.sent() == []


def test_a_client_bound_to_the_uplink_gets_nothing_out(
    hosts: Hosts, wire: Wire, installed: Enforcer
) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with client(hosts[0], socket.AF_INET, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.connect((FAR4, 53))
                sock.send(b"x")
    assert wire.sent() == []


def test_a_closed_local_port_refuses_as_ever(hosts: Hosts, installed: Enforcer) -> None:
    for address in ("127.0.0.1", VM4):
        with client(hosts[0], socket.AF_INET) as sock, pytest.raises(ConnectionRefusedError):
            sock.connect((address, 6543))


def test_a_local_service_is_reached_through_the_gate(hosts: Hosts, installed: Enforcer) -> None:
    with hosts[0].socket() as service, client(hosts[0], socket.AF_INET) as sock:
        service.bind(("127.0.0.1", 6544))
        service.listen()
        installed.refresh()
        sock.connect(("127.0.0.1", 6544))
        accepted, _ = listener(installed, "transparent", socket.AF_INET).accept()
        with accepted:
            assert original_destination(accepted) == ("127.0.0.1", 6544)


def test_inbound_connections_and_their_replies_pass(
    hosts: Hosts, wire: Wire, installed: Enforcer
) -> None:
    with hosts[0].socket() as service, client(hosts[1], socket.AF_INET) as sock:
        service.bind((VM4, 6545))
        service.listen()
        sock.connect((VM4, 6545))
        accepted, _ = service.accept()
        with accepted:
            accepted.sendall(b"welcome")
            assert sock.recv(16) == b"welcome"


def test_local_services_come_and_go(hosts: Hosts, anybodys: None, installed: Enforcer) -> None:
    """Only what changed is told to the kernel; where somebody else changed the set, all of it."""
    vm = hosts[0]

    def led_to_the_gate(port: int) -> bool:
        element = ["nft", "get", "element", "inet", "ramnet", "listening", f"{{ {port} }}"]
        return vm.run(element).ok

    with vm.socket() as service:
        service.bind(("127.0.0.1", 6546))
        service.listen()
        installed.refresh()
        assert led_to_the_gate(6546)
        vm.run(["nft", "flush", "set", "inet", "ramnet", "listening"]).check()
        with vm.socket() as second:
            second.bind(("127.0.0.1", 6547))
            second.listen()
            installed.refresh()
            assert led_to_the_gate(6547)
        vm.run(["nft", "flush", "set", "inet", "ramnet", "listening"]).check()
        installed.refresh()
        assert led_to_the_gate(6546)
    installed.refresh()
    assert not led_to_the_gate(6546)
