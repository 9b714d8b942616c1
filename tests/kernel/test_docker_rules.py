"""Beside Docker's own rules, whichever tool they were made with."""

import contextlib
import errno
import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.kernel.enforcer import Enforcer
from tests.kernel.conftest import (
    FAR4,
    INNER4,
    VM4,
    Wire,
    client,
    listener,
    new_enforcer,
    original_destination,
)
from tests.lab.host import Host

Hosts = tuple[Host, Host]


def _rules(iptables: str) -> list[str]:
    """What dockerd sets for `-p 8090:80 -p 8090:80/udp`, its OUTPUT jump included."""
    nat = f"{iptables} -t nat"
    return [
        f"{nat} -N DOCKER",
        f"{nat} -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        f"{nat} -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
        f"{nat} -A POSTROUTING -s 172.31.0.0/24 ! -o anyname -j MASQUERADE",
        *(
            f"{nat} -A DOCKER ! -i anyname -p {protocol} --dport 8090 -j DNAT --to {INNER4}:80"
            for protocol in ("tcp", "udp")
        ),
        f"{iptables} -A FORWARD -o anyname -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"{iptables} -A FORWARD -i anyname -j ACCEPT",
    ]


@pytest.fixture(params=["iptables-legacy", "iptables-nft"])
def docker_rules(request: pytest.FixtureRequest, hosts: Hosts, container: Host) -> Iterator[str]:
    """Docker's rules by one of the two tools; which one."""
    tool: str = request.param
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here")
    for command in _rules(tool):
        hosts[0].run(command.split()).check()
    yield tool
    for command in (f"{tool} -t nat -F", f"{tool} -t nat -X", f"{tool} -F"):
        hosts[0].run(command.split()).check()


@contextlib.contextmanager
def _answering(container: Host) -> Iterator[socket.socket]:
    with client(container, socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind((INNER4, 80))
        yield service


def test_published_udp_is_reached_from_here_and_from_outside(
    hosts: Hosts, container: Host, installed: Enforcer, docker_rules: str
) -> None:
    with _answering(container) as service:
        for host in hosts:
            with client(host, socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"question", (VM4, 8090))
                question, asker = service.recvfrom(64)
                service.sendto(b"answer", asker)
                assert (question, sock.recv(64)) == (b"question", b"answer")


def test_published_tcp_is_reached_from_outside(
    hosts: Hosts, container: Host, installed: Enforcer, docker_rules: str
) -> None:
    with container.socket() as service, client(hosts[1], socket.AF_INET) as sock:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        service.bind((INNER4, 80))
        service.listen()
        sock.connect((VM4, 8090))
        service.accept()[0].close()


def test_published_tcp_comes_to_the_gate_from_here(
    hosts: Hosts, container: Host, installed: Enforcer, docker_rules: str
) -> None:
    for _ in range(2):  # the first SYN teaches the set, the second connection is not delayed
        with client(hosts[0], socket.AF_INET) as sock:
            sock.connect((VM4, 8090))
            accepted, _ = listener(installed, "transparent", socket.AF_INET).accept()
            with accepted:
                assert original_destination(accepted) == (VM4, 8090)


@pytest.mark.parametrize("to", [(VM4, 8090), (INNER4, 7000)], ids=["published", "inner"])
def test_bound_to_the_uplink_no_container_is_near(
    hosts: Hosts, container: Host, installed: Enforcer, wire: Wire, docker_rules: str,
    to: tuple[str, int],
) -> None:  # fmt: skip
    """SO_BINDTODEVICE needs no privilege: packets for a container's address left by the uplink."""
    with client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        with contextlib.suppress(OSError):
            sock.sendto(b"secret", to)
    assert wire.sent() == []


def test_the_rules_of_docker_stay_as_they_were(
    hosts: Hosts, container: Host, tmp_path: Path, docker_rules: str
) -> None:
    def rules() -> list[str]:
        listing = hosts[0].run([f"{docker_rules}-save"]).check().out
        return [line for line in listing.splitlines() if line.startswith("-A")]

    before = rules()
    enforcer = new_enforcer(hosts[0], tmp_path)
    enforcer.install()
    assert rules() == before
    enforcer.remove()
    assert rules() == before


def test_a_container_speaks_to_a_high_port_of_ours(
    hosts: Hosts, container: Host, installed: Enforcer
) -> None:
    """Only what comes by an uplink can belong to an exchange that must be cut."""
    with (
        client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as service,
        client(container, socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        service.bind(("172.31.0.1", 45000))
        sock.sendto(b"question", ("172.31.0.1", 45000))
        question, asker = service.recvfrom(64)
        service.sendto(b"answer", asker)
        assert (question, sock.recv(64)) == (b"question", b"answer")


def test_an_old_connection_to_a_container_is_cut(
    hosts: Hosts, container: Host, enforcer: Enforcer
) -> None:
    """It may be a tunnel through a proxy there, opened before anybody looked."""
    with container.socket() as service, client(hosts[0], socket.AF_INET) as sock:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        service.bind((INNER4, 3128))
        service.listen()
        sock.connect((INNER4, 3128))
        accepted, _ = service.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with accepted:
            enforcer.install()
            with pytest.raises(OSError) as raised:
                for _ in range(100):
                    sock.send(b"secret")
                    sock.recv(1)
            assert raised.value.errno == errno.ECONNRESET


def test_forwarded_ports_that_matter_to_us_pass(
    hosts: Hosts, container: Host, installed: Enforcer
) -> None:
    """A container's QUIC, DNS over TLS and ESP are its own."""
    with client(hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((FAR4, 443))
        with client(container, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"quic", (FAR4, 443))
            assert server.recv(64) == b"quic"
