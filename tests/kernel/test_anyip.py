"""Tier anyip in a real kernel, with all of its parts and with each one taken away."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.kernel.enforcer import Enforcer
from ramnet.ruleset import Tier
from tests.kernel.conftest import (
    FAR4,
    FAR6,
    INNER4,
    VM4,
    VM6,
    Wire,
    client,
    listener,
    new_enforcer,
)
from tests.lab.host import Host

Hosts = tuple[Host, Host]
BOTH = pytest.mark.parametrize(
    ("family", "far"), [(socket.AF_INET, FAR4), (socket.AF_INET6, FAR6)], ids=["ipv4", "ipv6"]
)
LACKS = {
    "all": "",
    "no-sets": "sets,dynamic_sets",
    "no-ct": "ct,ct_mark",
    "no-reject": "reject",
    "no-counter": "counter",
    "no-route-chain-inet": "route_chain",
    "no-cgroup": "socket_cgroupv2",
    "no-ipv6-policy-routing": "policy_routing6",
    "wsl-4.19": "sets,dynamic_sets,ct,ct_mark,reject,counter,socket_cgroupv2,route_chain,"
    "policy_routing6",
}
OWN: dict[int, str] = {socket.AF_INET: VM4, socket.AF_INET6: VM6}


@pytest.fixture(params=LACKS)
def enforcer(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Enforcer]:
    """Not installed yet; taken away afterwards."""
    monkeypatch.setenv("RAMNET_WITHOUT", f"nat_redirect,{LACKS[request.param]}")
    enforcer = new_enforcer(hosts[0], tmp_path)
    assert enforcer.tier is Tier.ANYIP
    yield enforcer
    enforcer.remove()


def routed(enforcer: Enforcer, family: int) -> bool:
    """Whether the family comes to the gate; else it is refused whole."""
    return family == socket.AF_INET or enforcer.capabilities.policy_routing6


def refused(enforcer: Enforcer, raised: BaseException) -> bool:
    if isinstance(raised, TimeoutError):  # nothing said, since the kernel cannot
        return not enforcer.capabilities.reject
    expected = (errno.EPERM, errno.ECONNREFUSED, errno.EACCES, errno.EHOSTUNREACH)
    return isinstance(raised, OSError) and raised.errno in expected


@contextlib.contextmanager
def refusal(enforcer: Enforcer) -> Iterator[None]:
    with pytest.raises(OSError) as raised:
        yield
    assert refused(enforcer, raised.value)


@BOTH
@pytest.mark.parametrize("port", [80, 443, 3128, 5000])
def test_tcp_comes_to_the_proxy(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str, port: int
) -> None:
    with client(hosts[0], family) as sock:
        sock.settimeout(1)
        if routed(installed, family):
            sock.connect((far, port))
            accepted = accept_meant_for(installed, family, port)
            with accepted:
                assert accepted.getsockname()[:2] == (far, port)
                assert accepted.getpeername()[0] == OWN[family]
                sock.sendall(b"x" * 200_000)
                accepted.settimeout(5)
                assert len(accepted.recv(1024)) == 1024
                accepted.sendall(b"answer")
                assert sock.recv(16) == b"answer"
        else:
            with refusal(installed):
                sock.connect((far, port))
    assert wire.sent() == []


def accept_meant_for(enforcer: Enforcer, family: int, port: int) -> socket.socket:
    wanted = (
        s
        for s in enforcer.listeners["transparent"]
        if s.family == family and s.getsockname()[1] == port
    )
    return next(wanted).accept()[0]


@BOTH
@pytest.mark.parametrize("port", [22, 853, 8443])
def test_other_tcp_is_refused(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str, port: int
) -> None:
    with client(hosts[0], family) as sock, refusal(installed):
        sock.settimeout(1)
        sock.connect((far, port))
    assert wire.sent() == []


@BOTH
def test_a_port_of_the_policy_comes_to_the_proxy(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    made = installed.follow_ports([443, 8443, 53])
    families = 2 if installed.capabilities.policy_routing6 else 1
    assert [s.getsockname()[1] for s in made["transparent"]] == [8443] * families
    assert installed.follow_ports([8443]) == {}
    assert installed.intact()
    for sock in made["transparent"]:
        sock.settimeout(5)
    if routed(installed, family):
        with client(hosts[0], family) as sock:
            sock.connect((far, 8443))
            accept_meant_for(installed, family, 8443).close()
    assert wire.sent() == []


@BOTH
def test_dns_comes_to_the_resolver_and_is_answered_from_where_it_was_asked(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    from ramnet.gate.resolver.datagrams import AnyAddress

    with client(hosts[0], family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.connect((far, 53))
        if routed(installed, family):
            sock.send(b"question")
            way = AnyAddress(listener(installed, "dns-udp", family))
            question, asker = way.receive(512)
            way.send(b"answer", asker)
            assert (question, sock.recv(512)) == (b"question", b"answer")
        else:
            with refusal(installed):
                sock.send(b"question")
                sock.recv(1)
    if routed(installed, family):
        with client(hosts[0], family) as sock:
            sock.connect((far, 53))
            listener(installed, "dns-tcp", family).accept()[0].close()
    assert wire.sent() == []


@BOTH
@pytest.mark.parametrize("port", [443, 853, 123, 4789, 40000])
def test_udp_is_refused(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str, port: int
) -> None:
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock, refusal(installed):
        sock.settimeout(0.5)
        sock.connect((far, port))
        sock.send(b"out")
        sock.recv(1)
    assert wire.sent() == []


@pytest.mark.parametrize("protocol", [1, 4, 41, 47, 50, 132, 253])
def test_other_protocols_are_refused(
    hosts: Hosts, wire: Wire, installed: Enforcer, protocol: int
) -> None:
    with (
        hosts[0].socket(socket.AF_INET, socket.SOCK_RAW, protocol) as sock,
        pytest.raises(PermissionError),
    ):
        sock.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (FAR4, 0))
    assert wire.sent() == []


@BOTH
@pytest.mark.parametrize("mark", [0, 0x52414D47, 0x2000], ids=["none", "gate", "inbound"])
@pytest.mark.parametrize("port", [53, 443, 9999])
def test_a_client_bound_to_the_uplink_or_with_a_mark_gets_nothing_out(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str, mark: int, port: int
) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for bound in (False, True):
            with client(hosts[0], family, kind) as sock:
                if bound:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
                sock.setblocking(False)
                with contextlib.suppress(OSError):
                    sock.connect((far, port))
                    sock.send(b"x")
    assert wire.sent() == []


@BOTH
@pytest.mark.parametrize("port", [443, 9418])
def test_an_old_connection_is_cut(
    hosts: Hosts, wire: Wire, enforcer: Enforcer, family: int, far: str, port: int
) -> None:
    with hosts[1].socket(family) as server, client(hosts[0], family) as sock:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((far, port))
        server.listen()
        sock.connect((far, port))
        theirs, _ = server.accept()
        with theirs:
            wire.sent()
            enforcer.install()
            sock.settimeout(1)
            with pytest.raises(OSError):
                sock.send(b"more")
                if not sock.recv(1):
                    raise ConnectionResetError
            assert not [packet for packet in wire.sent() if b"more" in packet]


@BOTH
def test_a_download_that_goes_on_is_cut(
    hosts: Hosts, wire: Wire, enforcer: Enforcer, family: int, far: str
) -> None:
    """The first packet after the rules is inbound."""
    with hosts[1].socket(family) as server, client(hosts[0], family) as sock:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((far, 9418))
        server.listen()
        sock.connect((far, 9418))
        theirs, _ = server.accept()
        with theirs:
            enforcer.install()
            theirs.sendall(b"data")
            sock.settimeout(0.5)
            with contextlib.suppress(OSError):
                sock.recv(4)
            wire.sent()
            theirs.sendall(b"data")
            with contextlib.suppress(OSError):
                sock.recv(4)
                sock.send(b"more")
            assert not [packet for packet in wire.sent() if b"more" in packet]


@BOTH
def test_inbound_connections_pass(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    for port in (443, 6545):  # one of the gate's own ports, and another
        with hosts[0].socket(family) as service, client(hosts[1], family) as sock:
            service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            service.bind((OWN[family], port))
            service.listen()
            sock.connect((OWN[family], port))
            accepted, _ = service.accept()
            with accepted:
                accepted.sendall(b"welcome")
                assert sock.recv(16) == b"welcome"
                sock.sendall(b"thanks")
                assert accepted.recv(16) == b"thanks"


@BOTH
def test_inbound_connections_older_than_the_rules_stay(
    hosts: Hosts, enforcer: Enforcer, family: int, far: str
) -> None:
    with hosts[0].socket(family) as service, client(hosts[1], family) as sock:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        service.bind((OWN[family], 6546))
        service.listen()
        sock.connect((OWN[family], 6546))
        accepted, _ = service.accept()
        with accepted:
            enforcer.install()
            accepted.sendall(b"welcome")
            assert sock.recv(16) == b"welcome"


@BOTH
@pytest.mark.parametrize("port", [443, 6549])
def test_the_port_of_a_service_is_no_way_out(
    hosts: Hosts, wire: Wire, enforcer: Enforcer, family: int, far: str, port: int
) -> None:
    """A service on loopback leaves its port free for anybody at every other address.

    Shown by: services known by their port alone; this was a hole.
    """
    loopback = "127.0.0.1" if family == socket.AF_INET else "::1"
    with hosts[0].socket(family) as service, client(hosts[0], family) as sock:
        service.bind((loopback, 6548))
        service.listen()
        enforcer.install()
        sock.bind((OWN[family], 6548))
        sock.settimeout(1)
        with contextlib.suppress(OSError):
            sock.connect((far, port))
            sock.send(b"secret")
        assert wire.sent() == []


@BOTH
def test_a_closed_port_says_so_to_the_outside(
    hosts: Hosts, installed: Enforcer, family: int, far: str
) -> None:
    with client(hosts[1], family) as sock, pytest.raises(ConnectionRefusedError):
        sock.connect((OWN[family], 6547))
    with client(hosts[1], family, socket.SOCK_DGRAM) as sock:
        sock.connect((OWN[family], 9))
        sock.settimeout(0.5)
        with pytest.raises(ConnectionRefusedError):
            for _ in range(10):  # the kernel limits errors to a peer (icmp(7), icmp_ratelimit)
                with contextlib.suppress(TimeoutError):
                    sock.send(b"anybody")
                    sock.recv(1)


@BOTH
def test_an_inbound_datagram_is_answered_where_conntrack_tells(
    hosts: Hosts, wire: Wire, installed: Enforcer, family: int, far: str
) -> None:
    with (
        client(hosts[0], family, socket.SOCK_DGRAM) as service,
        client(hosts[1], family, socket.SOCK_DGRAM) as theirs,
    ):
        service.bind((OWN[family], 5140))
        theirs.sendto(b"one", (OWN[family], 5140))
        got, asker = service.recvfrom(64)
        if installed.capabilities.ct:
            service.sendto(got + b"!", asker)
            assert theirs.recv(64) == b"one!"
        else:
            with pytest.raises(PermissionError):
                service.sendto(got + b"!", asker)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_an_answer_to_a_borrowed_address_does_not_leave(
    hosts: Hosts, wire: Wire, installed: Enforcer, kind: int
) -> None:
    """IPV6_FREEBIND asks for no privilege: a client here that has the far end's address."""
    with (
        client(hosts[0], socket.AF_INET6, kind) as service,
        client(hosts[0], socket.AF_INET6, kind) as borrower,
    ):
        service.bind((VM6, 5141))
        borrower.setsockopt(socket.IPPROTO_IPV6, 78, 1)
        borrower.bind((FAR6, 0))
        borrower.setblocking(False)
        if kind == socket.SOCK_STREAM:
            service.listen()
            installed.apply()  # the service's port is a known one
            with contextlib.suppress(OSError):
                borrower.connect((VM6, 5141))
        else:
            borrower.sendto(b"one", (VM6, 5141))
            got, asker = service.recvfrom(64)
            with contextlib.suppress(OSError):
                service.sendto(got, asker)
    assert wire.sent() == []


@pytest.mark.parametrize("port", [80, 5000, 6544])
def test_local_services_are_as_before(hosts: Hosts, installed: Enforcer, port: int) -> None:
    """On the gate's own ports too: its listeners are elsewhere."""
    for address in ("127.0.0.1", VM4):
        with client(hosts[0], socket.AF_INET) as sock, pytest.raises(ConnectionRefusedError):
            sock.connect((address, port))
        with hosts[0].socket() as service, client(hosts[0], socket.AF_INET) as sock:
            service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            service.bind(("0.0.0.0", port))
            service.listen()
            sock.connect((address, port))
            service.accept()[0].close()


def test_containers_are_reached(hosts: Hosts, installed: Enforcer, container: Host) -> None:
    installed.refresh()
    with container.socket() as service, client(hosts[0], socket.AF_INET) as sock:
        service.bind((INNER4, 8081))
        service.listen()
        sock.connect((INNER4, 8081))
        service.accept()[0].close()
    with client(hosts[0], socket.AF_INET) as sock:
        sock.connect((INNER4, 3128))
        with accept_meant_for(installed, socket.AF_INET, 3128) as accepted:
            assert accepted.getsockname() == (INNER4, 3128)
    with container.socket() as theirs:
        theirs.settimeout(5)
        with hosts[1].socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((FAR4, 443))
            server.listen()
            theirs.connect((FAR4, 443))
            server.accept()[0].close()


def test_without_the_gates_namespace_nothing_leaves(
    hosts: Hosts, wire: Wire, installed: Enforcer, tmp_path: Path
) -> None:
    """As when the service was killed: the pair is gone, the rules stay."""
    hosts[0].run(["ip", "link", "del", "ramnet0"]).check()
    for family, far in ((socket.AF_INET, FAR4), (socket.AF_INET6, FAR6)):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with client(hosts[0], family, kind) as sock, pytest.raises(OSError):
                sock.settimeout(1)
                sock.connect((far, 53))
                sock.send(b"out")
                sock.recv(1)
    assert wire.sent() == []


@pytest.mark.parametrize("what", ["rule", "first-rule", "its-place", "route", "sysctl"])
def test_what_is_missing_is_seen_and_put_back(
    hosts: Hosts, wire: Wire, installed: Enforcer, what: str
) -> None:
    command = {
        "rule": "ip rule del priority 92",
        "first-rule": "ip rule del fwmark 0x52414d47 iif lo",
        "its-place": "ip rule add priority 1 lookup local; ip rule del fwmark 0x52414d47 iif lo;"
        "ip rule add priority 0 iif lo fwmark 0x52414d47 lookup 60927; ip rule del priority 1",
        "route": "ip route flush table 60927",
        "sysctl": "echo 0 >/proc/sys/net/ipv4/tcp_fwmark_accept",
    }[what]
    assert installed.intact()
    hosts[0].run(["sh", "-c", command]).check()
    assert not installed.intact()
    with client(hosts[0], socket.AF_INET) as sock:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.connect((FAR4, 443))
    assert wire.sent() == []
    installed.apply()
    assert installed.intact()


_LISTING = """
nft list ruleset; ip link show; ip rule; ip -6 rule
ip route show table all; ip -6 route show table all
sysctl net.ipv4.tcp_fwmark_accept net.ipv4.fwmark_reflect net.ipv6.fwmark_reflect
"""


@pytest.mark.parametrize("lacks", ["", "route_chain"])
def test_nothing_is_left_behind(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    """Taken away by another process, which may even choose another tier."""
    hosts[0].run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/fwmark_reflect"]).check()
    before = hosts[0].run(["sh", "-c", _LISTING]).check().out
    monkeypatch.setenv("RAMNET_WITHOUT", f"nat_redirect,{lacks}")
    enforcer = new_enforcer(hosts[0], tmp_path)
    enforcer.install()
    enforcer.apply()
    assert hosts[0].run(["sh", "-c", _LISTING]).check().out != before
    enforcer.close()
    monkeypatch.delenv("RAMNET_WITHOUT")
    new_enforcer(hosts[0], tmp_path).remove()
    after = hosts[0].run(["sh", "-c", _LISTING]).check().out
    hosts[0].run(["sh", "-c", "echo 0 >/proc/sys/net/ipv4/fwmark_reflect"]).check()
    assert after == before


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.53", "10.255.255.254", VM4])
def test_a_resolver_on_this_machine_is_not_asked(
    hosts: Hosts, wire: Wire, installed: Enforcer, server: str
) -> None:
    """It may ask others by a way that is no packet of the scope's, as WSL's DNS tunnel does."""
    from ramnet.gate.resolver.datagrams import AnyAddress

    hosts[0].run(["ip", "addr", "replace", "10.255.255.254/32", "dev", "lo"]).check()
    try:
        with (
            client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as tunnel,
            client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as sock,
            client(hosts[0], socket.AF_INET) as stream,
        ):
            tunnel.bind((server, 53))
            sock.connect((server, 53))
            sock.send(b"question")
            way = AnyAddress(listener(installed, "dns-udp", socket.AF_INET))
            question, asker = way.receive(512)
            way.send(b"answer", asker)
            assert (question, sock.recv(512)) == (b"question", b"answer")
            stream.connect((server, 53))
            accepted = listener(installed, "dns-tcp", socket.AF_INET).accept()[0]
            with accepted:
                assert accepted.getsockname() == (server, 53)
                accepted.sendall(b"answer")
                assert stream.recv(16) == b"answer"
            tunnel.setblocking(False)
            with pytest.raises(BlockingIOError):
                tunnel.recv(512)
    finally:
        hosts[0].run(["ip", "addr", "del", "10.255.255.254/32", "dev", "lo"]).check()
    assert wire.sent() == []
