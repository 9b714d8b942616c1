"""What has nothing to do with registries goes on as before."""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.kernel.enforcer import Enforcer
from tests.kernel.conftest import FAR4, FAR6, VM4, VM6, Wire, client
from tests.lab.host import Host

Hosts = tuple[Host, Host]
ROUTER4 = "192.0.2.1"
BOTH = pytest.mark.parametrize(
    ("family", "vm", "far"),
    [(socket.AF_INET, VM4, FAR4), (socket.AF_INET6, VM6, FAR6)],
    ids=["ipv4", "ipv6"],
)


@pytest.fixture
def overlay(hosts: Hosts, tmp_path: Path) -> Iterator[Host]:
    """A network of Swarm: its VXLAN is made in the vm and moved to a namespace of its own."""
    inner = Host.create("overlay", tmp_path / "overlay")
    for host, own, other, place, address in (
        (hosts[0], VM4, ROUTER4, inner, "10.77.0.1/24"),
        (hosts[1], ROUTER4, VM4, hosts[1], "10.77.0.2/24"),
    ):
        host.run_outside(
            ["ip", "link", "add", "vx", "type", "vxlan", "id", "77", "local", own,
             "remote", other, "dstport", "4789"]
        ).check()  # fmt: skip
        if place is not host:
            host.run_outside(["ip", "link", "set", "vx", "netns", str(place.pid)]).check()
        place.run(["ip", "addr", "add", address, "dev", "vx"]).check()
        place.run(["ip", "link", "set", "dev", "vx", "up"]).check()
    yield inner
    hosts[1].run(["ip", "link", "del", "vx"]).check()
    inner.close()


def test_the_overlay_of_a_swarm_works_both_ways(
    hosts: Hosts, wire: Wire, installed: Enforcer, overlay: Host
) -> None:
    with (
        client(overlay, socket.AF_INET, socket.SOCK_DGRAM) as ours,
        client(hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        theirs.bind(("10.77.0.2", 7000))
        ours.sendto(b"question", ("10.77.0.2", 7000))
        question, asker = theirs.recvfrom(64)
        theirs.sendto(b"answer", asker)
        assert (question, ours.recv(64)) == (b"question", b"answer")
    ports = {struct.unpack_from("!H", packet, 22)[0] for packet in wire.sent()}
    assert ports == {4789}


@pytest.mark.parametrize(
    ("family", "own", "to", "sport", "dport"),
    [
        (socket.AF_INET, VM4, "255.255.255.255", 68, 67),
        (socket.AF_INET6, VM6, "ff02::1:2%eth0", 546, 547),
    ],
    ids=["ipv4", "ipv6"],
)
def test_dhcp(
    hosts: Hosts, wire: Wire, installed: Enforcer,
    family: int, own: str, to: str, sport: int, dport: int,
) -> None:  # fmt: skip
    with client(hosts[0], family, socket.SOCK_DGRAM) as sock, hosts[0].entered():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind((own, sport))
        sock.sendto(b"discover", socket.getaddrinfo(to, dport, family, socket.SOCK_DGRAM)[0][4])
    assert any(b"discover" in packet for packet in wire.sent())


def test_an_offer_of_dhcp_comes_in(hosts: Hosts, installed: Enforcer) -> None:
    with (
        client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as ours,
        client(hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as server,
    ):
        ours.bind(("0.0.0.0", 68))
        server.bind((ROUTER4, 67))
        server.sendto(b"offer", (VM4, 68))
        assert ours.recv(64) == b"offer"


def test_neighbours_are_found_again(hosts: Hosts, installed: Enforcer) -> None:
    for host in hosts:
        host.run(["ip", "neigh", "flush", "all"]).check()
    with hosts[0].socket() as service, hosts[0].socket(socket.AF_INET6) as service6:
        for sock, family, own in (
            (service, socket.AF_INET, VM4),
            (service6, socket.AF_INET6, VM6),
        ):
            sock.bind((own, 6546))
            sock.listen()
            with client(hosts[1], family) as theirs:
                theirs.connect((own, 6546))
                sock.accept()[0].close()


def _is_report(packet: bytes) -> bool:
    """IGMP, or MLD version 2 behind hop-by-hop options."""
    igmp = packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_IGMP
    return igmp or (packet[0] >> 4 == 6 and packet[6] == 0 and packet[48] == 143)


def test_groups_are_joined_aloud(hosts: Hosts, installed: Enforcer) -> None:
    with hosts[0].entered():
        index = socket.if_nametoindex("eth0")
    with (
        hosts[1].socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as seen,
        client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as four,
        client(hosts[0], socket.AF_INET6, socket.SOCK_DGRAM) as six,
    ):
        seen.settimeout(5)
        group4 = socket.inet_aton("239.1.2.3") + socket.inet_aton(VM4)
        group6 = socket.inet_pton(socket.AF_INET6, "ff15::1:2:3") + struct.pack("=i", index)
        four.setsockopt(socket.SOL_IP, socket.IP_ADD_MEMBERSHIP, group4)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group6)
        versions: set[int] = set()
        while versions != {4, 6}:
            packet, _ = seen.recvfrom(65536)
            if _is_report(packet):
                versions.add(packet[0] >> 4)


@BOTH
def test_inbound_udp_and_its_answers(
    hosts: Hosts, installed: Enforcer, family: int, vm: str, far: str
) -> None:
    with (
        client(hosts[0], family, socket.SOCK_DGRAM) as service,
        client(hosts[1], family, socket.SOCK_DGRAM) as theirs,
    ):
        service.bind((vm, 5140))
        for text in (b"one", b"two"):
            theirs.sendto(text, (vm, 5140))
            got, asker = service.recvfrom(64)
            service.sendto(got + b"!", asker)
            assert theirs.recv(64) == text + b"!"


@BOTH
def test_a_closed_port_says_so_to_the_outside(
    hosts: Hosts, installed: Enforcer, family: int, vm: str, far: str
) -> None:
    with client(hosts[1], family, socket.SOCK_DGRAM) as theirs:
        theirs.connect((vm, 9))
        theirs.settimeout(0.5)
        with pytest.raises(ConnectionRefusedError):
            for _ in range(10):  # the kernel limits errors to a peer (icmp(7), icmp_ratelimit)
                with contextlib.suppress(TimeoutError):
                    theirs.send(b"anybody")
                    theirs.recv(1)
    with client(hosts[1], family) as theirs, pytest.raises(ConnectionRefusedError):
        theirs.connect((vm, 9))


@BOTH
def test_a_ping_from_outside_is_answered(
    hosts: Hosts, installed: Enforcer, family: int, vm: str, far: str
) -> None:
    hosts[1].run(["sh", "-c", "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range"]).check()
    request, reply = (8, 0) if family == socket.AF_INET else (128, 129)
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    with hosts[1].socket(family, socket.SOCK_DGRAM, protocol) as theirs:
        theirs.settimeout(5)
        theirs.connect((vm, 0))
        theirs.send(bytes([request, 0, 0, 0, 0, 1, 0, 1]) + b"are you there")
        assert theirs.recv(64)[0] == reply


def test_a_route_that_ends_here_says_so(hosts: Hosts, installed: Enforcer) -> None:
    """Time exceeded and destination unreachable of a forwarding machine (traceroute through it)."""
    hosts[0].run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]).check()
    with client(hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.setsockopt(socket.SOL_IP, 11, 1)  # IP_RECVERR
        theirs.setsockopt(socket.SOL_IP, socket.IP_TTL, 1)
        hosts[1].run(["ip", "route", "add", "198.18.0.1/32", "via", VM4]).check()
        try:
            with pytest.raises(OSError) as raised:
                theirs.connect(("198.18.0.1", 33434))
                theirs.send(b"trace")
                theirs.recv(1)
        finally:
            hosts[1].run(["ip", "route", "del", "198.18.0.1/32"]).check()
    assert raised.value.errno == errno.EHOSTUNREACH


@BOTH
def test_large_packets_are_told_their_size(
    hosts: Hosts, installed: Enforcer, family: int, vm: str, far: str
) -> None:
    """A reply larger than the path: "packet too big" comes in and the data arrives smaller."""
    with hosts[0].socket(family) as service, client(hosts[1], family) as theirs:
        service.bind((vm, 6547))
        service.listen()
        theirs.connect((vm, 6547))
        ours, _ = service.accept()
        with ours:
            hosts[1].run(["ip", "link", "set", "dev", "wire", "mtu", "1400"]).check()
            try:
                ours.sendall(b"x" * 100_000)
                got = 0
                while got < 100_000:
                    got += len(theirs.recv(65536))
            finally:
                hosts[1].run(["ip", "link", "set", "dev", "wire", "mtu", "1500"]).check()
