"""Container networks: near by what their links are, reached through the gate, never cut off."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from ramnet.kernel.enforcer import Enforcer
from tests.kernel.conftest import (
    FAR4,
    INNER4,
    VM4,
    Wire,
    client,
    listener,
    original_destination,
)
from tests.lab.host import Host

Hosts = tuple[Host, Host]


def test_a_bridge_of_veths_is_a_container_network(container: Host, installed: Enforcer) -> None:
    assert installed.near.containers4 == {"172.31.0.0/24"}


def test_a_bridge_with_another_port_is_not(
    hosts: Hosts, container: Host, installed: Enforcer
) -> None:
    hosts[0].run(["ip", "tuntap", "add", "foreign", "mode", "tap"]).check()
    hosts[0].run(["ip", "link", "set", "dev", "foreign", "master", "anyname"]).check()
    try:
        assert installed.refresh()
        assert installed.near.containers4 == frozenset()
    finally:
        hosts[0].run(["ip", "link", "del", "foreign"]).check()
    assert installed.refresh()
    assert installed.near.containers4 == {"172.31.0.0/24"}


@contextlib.contextmanager
def links(vm: Host, name: str, *commands: str) -> Iterator[None]:
    """What ``ip`` makes of these; the link of this name is taken away at the end."""
    for command in commands:
        vm.run(["ip", *command.split()]).check()
    try:
        yield
    finally:
        vm.run(["ip", "link", "del", name]).check()


def test_a_bridge_by_which_the_machine_leaves_is_not(
    hosts: Hosts, container: Host, enforcer: Enforcer, wire: Wire
) -> None:
    """Its uplink is a veth itself: in a container, in a virtual machine of somebody's namespaces.

    The address is near by its route, and the far side of the bridge is outside.
    """
    vm, far = hosts
    neighbour = "198.51.100.9"
    far.run(["ip", "addr", "add", f"{neighbour}/24", "dev", "wire"]).check()
    before = vm.run(["ip", "route", "show", "default"]).check().out.split()
    move = ("link set eth0 master out0", "addr add 198.51.100.2/24 dev out0")
    back = ("link set eth0 nomaster", f"route replace {' '.join(before)}")
    with links(vm, "out0", "link add out0 type bridge", "link set out0 up", *move):
        try:
            vm.run(["ip", "route", "replace", "default", "via", neighbour, "dev", "out0"]).check()
            with client(vm, socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"seen", (neighbour, 7000))
            wire_saw = wire.sent()
            enforcer.install()
            assert enforcer.near.containers4 == {"172.31.0.0/24"}
            assert ("out0", "a default route") in enforcer.near.outward
            with (
                client(vm, socket.AF_INET, socket.SOCK_DGRAM) as sock,
                contextlib.suppress(OSError),
            ):
                sock.sendto(b"secret", (neighbour, 7000))
            # IGMP of the new address may leave, and does when the machine likes.
            assert not [packet for packet in wire.sent() if b"secret" in packet]
            assert any(b"seen" in packet for packet in wire_saw)
        finally:
            for command in back:
                vm.run(["ip", *command.split()]).check()
            far.run(["ip", "addr", "del", f"{neighbour}/24", "dev", "wire"]).check()


def test_what_leads_out_by_another_bridge(
    hosts: Hosts, container: Host, installed: Enforcer
) -> None:
    vm = hosts[0]
    with (
        links(vm, "out1", "link add out1 type bridge", "link set out1 up"),
        links(
            vm, "join0", "link add join0 type veth peer name join1", "link set join0 master anyname"
        ),
    ):
        vm.run(["ip", "link", "set", "join1", "master", "out1"]).check()
        installed.refresh()
        assert installed.near.containers4 == {"172.31.0.0/24"}
        assert installed.near.outward == frozenset()
        with links(
            vm, "out.5", "link add out.5 type vxlan id 5 remote 192.0.2.1 dstport 4789 dev eth0"
        ):
            vm.run(["ip", "link", "set", "out.5", "master", "out1"]).check()
            assert installed.refresh()
            assert installed.near.containers4 == frozenset()
            ways = {("out1", "its port out.5"), ("anyname", "its port join0")}
            assert installed.near.outward == ways
        assert installed.refresh()
        assert installed.near.containers4 == {"172.31.0.0/24"}


@pytest.mark.parametrize(
    ("address", "near"),
    [
        (f"{VM4}/24", set()),
        ("192.0.2.200/25", {"192.0.2.128/25"}),
        ("192.0.0.1/22", {"192.0.0.0/23", "192.0.3.0/24"}),
        ("2001:db8:1::9/64", set()),
        ("2001:db8:1::9/63", {"2001:db8:1:1::/64"}),
    ],
)
def test_what_is_routed_elsewhere_is_no_container_network(
    hosts: Hosts, container: Host, installed: Enforcer, address: str, near: set[str]
) -> None:
    """Anybody who may use Docker makes a network of the uplink's addresses."""
    options = ["nodad"] if ":" in address else []
    hosts[0].run(["ip", "addr", "add", address, "dev", "anyname", *options]).check()
    try:
        installed.refresh()
        found = installed.near.containers4 | installed.near.containers6
        assert found == {"172.31.0.0/24", *near}
    finally:
        hosts[0].run(["ip", "addr", "del", address, "dev", "anyname"]).check()


def test_the_scope_reaches_a_container_through_the_gate(
    hosts: Hosts, container: Host, installed: Enforcer
) -> None:
    with client(hosts[0], socket.AF_INET) as sock:
        sock.connect((INNER4, 80))
        accepted, _ = listener(installed, "transparent", socket.AF_INET).accept()
        with accepted:
            assert original_destination(accepted) == (INNER4, 80)


def test_udp_and_ping_to_a_container_pass(
    hosts: Hosts, container: Host, installed: Enforcer
) -> None:
    with (
        client(container, socket.AF_INET, socket.SOCK_DGRAM) as service,
        client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        service.bind((INNER4, 7000))
        sock.sendto(b"ping", (INNER4, 7000))
        assert service.recv(16) == b"ping"


def test_forwarded_traffic_of_a_container_passes(
    hosts: Hosts, container: Host, installed: Enforcer, wire: Wire
) -> None:
    with (
        client(container, socket.AF_INET, socket.SOCK_DGRAM) as sock,
        client(hosts[1], socket.AF_INET, socket.SOCK_DGRAM) as server,
    ):
        server.bind((FAR4, 53))
        sock.sendto(b"question", (FAR4, 53))
        question, asker = server.recvfrom(64)
        server.sendto(b"answer", asker)
        assert (question, sock.recv(64)) == (b"question", b"answer")
    assert wire.sent()


def test_a_port_published_by_nat_alone_comes_to_the_gate_at_the_second_try(
    hosts: Hosts, container: Host, installed: Enforcer
) -> None:
    """Docker without userland-proxy: nobody listens, a DNAT in OUTPUT leads to the container."""
    with client(hosts[0], socket.AF_INET) as sock:
        sock.connect((VM4, 8088))  # the first SYN is dropped; the kernel sends it again
        accepted, _ = listener(installed, "transparent", socket.AF_INET).accept()
        with accepted, contextlib.suppress(OSError):
            assert original_destination(accepted) == (VM4, 8088)
