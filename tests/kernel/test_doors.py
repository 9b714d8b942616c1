"""Ways out that are not an ordinary connect: nothing leaves by any of them."""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from ramnet.kernel.enforcer import Enforcer
from tests.kernel.conftest import FAR4, FAR6, VM4, Wire, client, listener, original_destination
from tests.lab.host import Host
from tests.lab.processes import wait_until

Hosts = tuple[Host, Host]
_REFUSALS = (errno.EPERM, errno.EACCES, errno.ECONNREFUSED, errno.EHOSTUNREACH)
BOTH = pytest.mark.parametrize(
    ("family", "far"), [(socket.AF_INET, FAR4), (socket.AF_INET6, FAR6)], ids=["ipv4", "ipv6"]
)
_SOCK_DCCP = 6
_UDPLITE, _DCCP = 136, 33


def _refused(sock: socket.socket, to: tuple[str, int], data: bytes = b"secret") -> None:
    """Send, and be told at once that it did not go."""
    with pytest.raises(OSError) as raised:
        sock.connect(to)
        sock.send(data)
        sock.recv(1)
    assert raised.value.errno in _REFUSALS


@BOTH
def test_bound_to_the_uplink(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for to in (far, "127.0.0.1" if family == socket.AF_INET else "::1"):
            for port in (53, 443, 9):
                with client(hosts[0], family, kind) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                    sock.setblocking(False)
                    with contextlib.suppress(OSError):
                        sock.connect((to, port))
                        sock.send(b"x")
    assert wire.sent() == []


@pytest.mark.parametrize("port", [53, 80])
def test_an_ipv4_mapped_address_is_ipv4(
    hosts: Hosts, wire: Wire, installed: Enforcer, port: int
) -> None:
    role = "dns-tcp" if port == 53 else "transparent"
    with client(hosts[0], socket.AF_INET6) as sock:
        sock.connect((f"::ffff:{FAR4}", port))
        accepted, _ = listener(installed, role, socket.AF_INET).accept()
        with accepted:
            assert original_destination(accepted) == (FAR4, port)
    with client(hosts[0], socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        _refused(sock, (f"::ffff:{FAR4}", 443))
    assert wire.sent() == []


@BOTH
def test_a_mark_of_the_socket_changes_nothing(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    for mark in (1, 0x52414D47):
        with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            _refused(sock, (far, 443))
    assert wire.sent() == []


@pytest.mark.parametrize("to", ["224.0.0.251", "239.255.255.250", "255.255.255.255", "192.0.2.255"])
@pytest.mark.parametrize("port", [53, 1900, 5353])
def test_multicast_and_broadcast(
    hosts: Hosts, wire: Wire, installed: Enforcer, to: str, port: int
) -> None:
    with client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        with contextlib.suppress(OSError):
            sock.sendto(b"who is ghcr.io", (to, port))
    assert wire.sent() == []


@pytest.mark.parametrize("port", [53, 1900, 5353])
def test_multicast_of_ipv6(hosts: Hosts, wire: Wire, installed: Enforcer, port: int) -> None:
    with hosts[0].entered():
        index = socket.if_nametoindex("eth0")
    with client(hosts[0], socket.AF_INET6, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.sendto(b"who is ghcr.io", ("ff02::fb", port, 0, index))
    assert wire.sent() == []


@BOTH
def test_data_in_the_first_packet(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    """TCP Fast Open, and without a cookie (TCP_FASTOPEN_NO_COOKIE)."""
    hosts[0].run(["sh", "-c", "echo 5 >/proc/sys/net/ipv4/tcp_fastopen"]).check()
    for port in (443, 853):
        with client(hosts[0], family) as sock:
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.sendto(b"secret", socket.MSG_FASTOPEN, (far, port))
    assert wire.sent() == []


@BOTH
@pytest.mark.parametrize(
    ("kind", "protocol"),
    [(socket.SOCK_DGRAM, _UDPLITE), (_SOCK_DCCP, _DCCP), (socket.SOCK_SEQPACKET, 132)],
    ids=["udplite", "dccp", "sctp"],
)
def test_transports_that_few_know(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str, kind: int, protocol: int
) -> None:
    try:
        sock = hosts[0].socket(family, kind, protocol)
    except OSError:
        pytest.skip("this kernel has no such transport")
    with sock:
        sock.settimeout(0.2)
        with contextlib.suppress(OSError):
            sock.connect((far, 53))
            sock.send(b"secret")
    assert wire.sent() == []


@pytest.mark.parametrize("kind", [0x83, 0x89], ids=["loose", "strict"])
@pytest.mark.parametrize("hop", [FAR4, "127.0.0.1", VM4, "192.0.2.1"])
def test_source_routes(hosts: Hosts, wire: Wire, installed: Enforcer, kind: int, hop: str) -> None:
    route = bytes([kind, 7, 4]) + socket.inet_aton(hop) + b"\0"
    for transport in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with client(hosts[0], socket.AF_INET, transport) as sock:
            sock.setsockopt(socket.SOL_IP, socket.IP_OPTIONS, route)
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.connect((FAR4, 443))
                sock.send(b"secret")
    assert wire.sent() == []


@BOTH
def test_ping_sockets_are_refused_at_once(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    hosts[0].run(["sh", "-c", "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range"]).check()
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    with hosts[0].socket(family, socket.SOCK_DGRAM, protocol) as sock:
        sock.settimeout(5)
        kind = 8 if family == socket.AF_INET else 128
        _refused(sock, (far, 0), bytes([kind, 0, 0, 0, 0, 1, 0, 1]) + b"secret")
    assert wire.sent() == []


@BOTH
@pytest.mark.parametrize("sport", [53, 67, 443, 853, 4789, 927])
def test_a_source_port_opens_nothing(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str, sport: int
) -> None:
    any_address = "0.0.0.0" if family == socket.AF_INET else "2001:db8:1::2"
    if sport == 927 and family == socket.AF_INET:
        any_address = VM4
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
        sock.bind((any_address, sport))
        _refused(sock, (far, 443))
    assert wire.sent() == []


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_the_port_of_a_service_is_no_way_out(
    hosts: Hosts, wire: Wire, enforcer: Enforcer, option: int
) -> None:
    with hosts[0].socket() as service, client(hosts[0], socket.AF_INET) as sock:
        for one in (service, sock):
            one.setsockopt(socket.SOL_SOCKET, option, 1)
        service.bind(("127.0.0.1" if option == socket.SO_REUSEADDR else VM4, 2200))
        service.listen()
        enforcer.install()
        sock.bind((VM4, 2200))
        sock.connect((FAR4, 443))
        sock.send(b"secret")
        assert wire.sent() == []
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert wire.sent() == []


def test_the_port_of_a_service_when_conntrack_has_forgotten(
    hosts: Hosts, wire: Wire, enforcer: Enforcer
) -> None:
    """What the gate has ended and conntrack forgot is no old connection to a service.

    Shown by: services known by their port alone; this was a hole.
    """
    with hosts[0].socket() as service, client(hosts[0], socket.AF_INET) as sock:
        service.bind(("127.0.0.1", 2201))
        service.listen()
        enforcer.install()
        sock.bind((VM4, 2201))
        with _short_memory(hosts[0]):
            sock.connect((FAR4, 443))
            listener(enforcer, "transparent", socket.AF_INET).accept()[0].close()
            assert sock.recv(1) == b""
            wait_until("conntrack forgets", lambda: "sport=2201" not in _known(hosts[0]))
        with contextlib.suppress(OSError):
            sock.send(b"secret")
        assert wire.sent() == []


_TIMES = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_"


@contextlib.contextmanager
def _short_memory(vm: Host) -> Iterator[None]:
    """Conntrack forgets in a second what has ended on one side (else in one or two minutes)."""
    states = ("fin_wait", "close_wait", "last_ack", "time_wait")
    script = "for state; do cat $0$state; echo 1 >$0$state; done"
    before = vm.run(["sh", "-c", script, _TIMES, *states]).check().out.split()
    yield
    for state, seconds in zip(states, before, strict=True):
        vm.run(["sh", "-c", "echo $1 >$0", _TIMES + state, seconds]).check()


def _known(vm: Host) -> str:
    return vm.run(["cat", "/proc/net/nf_conntrack"]).check().out


@pytest.mark.parametrize("to", ["240.0.0.1", "100::1"])
def test_a_refused_name_is_answered_by_the_gate(
    hosts: Hosts, wire: Wire, installed: Enforcer, to: str
) -> None:
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with client(hosts[0], family) as sock:
        sock.connect((to, 443))
        listener(installed, "transparent", family).accept()[0].close()
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
        _refused(sock, (to, 443))
    assert wire.sent() == []


@pytest.mark.parametrize("to", ["0.0.0.0", "::"])
def test_the_unspecified_address_is_loopback(
    hosts: Hosts, wire: Wire, installed: Enforcer, to: str
) -> None:
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with client(hosts[0], family) as sock, pytest.raises(ConnectionRefusedError):
        sock.connect((to, 6999))
    with client(hosts[0], family) as sock:
        sock.connect((to, 53))
        listener(installed, "dns-tcp", family).accept()[0].close()
    assert wire.sent() == []


@BOTH
def test_the_gates_own_ports_can_be_addressed(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    """A direct connection was not redirected, and can be told so; it is no way to anywhere."""
    own = listener(installed, "transparent", family).getsockname()
    with client(hosts[0], family) as sock:
        sock.connect(own[:2])
        accepted, _ = listener(installed, "transparent", family).accept()
        with accepted, contextlib.suppress(OSError):
            assert original_destination(accepted) == own[:2]
    with client(hosts[0], family) as sock:
        sock.connect((far, own[1]))
        accepted, _ = listener(installed, "transparent", family).accept()
        with accepted:
            assert original_destination(accepted) == (far, own[1])
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
        _refused(sock, (far, own[1]))
    assert wire.sent() == []


@pytest.mark.parametrize("to", ["64:ff9b::cb00:7107", "2002:cb00:7107::1", "::203.0.113.7"])
def test_addresses_with_ipv4_inside(hosts: Hosts, wire: Wire, installed: Enforcer, to: str) -> None:
    with client(hosts[0], socket.AF_INET6) as sock:
        sock.connect((to, 443))
        accepted, _ = listener(installed, "transparent", socket.AF_INET6).accept()
        with accepted:
            assert original_destination(accepted) == (to, 443)
    with client(hosts[0], socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        _refused(sock, (to, 443))
    assert wire.sent() == []


@BOTH
def test_dhcp_goes_to_nobody_by_address(
    hosts: Hosts, installed: Enforcer, wire: Wire, family: int, far: str
) -> None:
    """From a DHCP client's port to a server's anybody sent what he liked; renewals that are
    refused go on by broadcast (RFC 2131 section 4.4.5, REBINDING)."""
    sport, dport = (68, 67) if family == socket.AF_INET else (546, 547)
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
        sock.bind(("", sport))
        with contextlib.suppress(OSError):
            sock.sendto(b"secret", (far, dport))
    assert wire.sent() == []
