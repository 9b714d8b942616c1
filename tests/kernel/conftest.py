"""Two hosts and a wire between them: rules in one, and everything that leaves seen in the other."""

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.config import Config, Scope
from ramnet.kernel.enforcer import Enforcer
from ramnet.kernel.probe import WITHOUT
from tests.lab.host import Host

VM4, VM6 = "192.0.2.2", "2001:db8:1::2"
FAR4, FAR6 = "203.0.113.7", "2001:db8:2::7"
BRIDGE4, INNER4 = "172.31.0.1", "172.31.0.2"
_ETH_P_ALL = 3
_NEIGHBOURS = {*range(130, 137), 143}  # MLD and neighbour discovery (RFC 3810, RFC 4861)
_SENTINEL = b"sentinel of the wire"


class Wire:
    """Sees every packet that the vm sends, at the far end of its uplink."""

    def __init__(self, vm: Host, far: Host) -> None:
        self._vm, self._far = vm, far
        self._socket = far.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.bind(("wire", _ETH_P_ALL))
        self._socket.settimeout(5)

    def sent(self) -> list[bytes]:
        """IP packets that left the vm since the last call (neighbour discovery and MLD aside)."""
        # A frame of our own behind all others: when it is here, so is everything before it.
        with self._vm.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            raw.send(b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + _SENTINEL)
        packets: list[bytes] = []
        while True:
            frame, address = self._socket.recvfrom(65536)
            if _SENTINEL in frame:
                return packets
            if address[2] != socket.PACKET_OUTGOING and _is_traffic(frame):
                packets.append(frame[14:])

    def close(self) -> None:
        self._socket.close()


def _is_traffic(frame: bytes) -> bool:
    kind = int.from_bytes(frame[12:14], "big")
    if kind == 0x0800:
        return True
    if kind != 0x86DD:
        return False
    header, offset = frame[20], 54
    if header == 0:  # hop-by-hop options, as MLD has them
        header, offset = frame[54], 54 + 8 * (frame[55] + 1)
    return not (header == 58 and frame[offset] in _NEIGHBOURS)


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    if os.geteuid() != 0:
        pytest.skip("makes network namespaces: needs root")
    directory = tmp_path_factory.mktemp("hosts")
    vm = Host.create("vm", directory / "vm")
    far = Host.create("far", directory / "far")
    _connect(vm, far)
    for family, address in ((socket.AF_INET, FAR4), (socket.AF_INET6, FAR6)):
        _meet(vm, far, family, address)
    yield vm, far
    vm.close()
    far.close()


def _connect(vm: Host, far: Host) -> None:
    subprocess.run(
        ["ip", "link", "add", "eth0", "netns", str(vm.pid), "type", "veth",
         "peer", "name", "wire", "netns", str(far.pid)], check=True,
    )  # fmt: skip
    for host, link, commands in (
        (vm, "eth0", [f"addr add {VM4}/24", f"addr add {VM6}/64 nodad"]),
        (far, "wire", ["addr add 192.0.2.1/24", "addr add 2001:db8:1::1/64 nodad"]),
    ):
        for command in commands:
            words = command.split()
            host.run(["ip", words[0], "add", words[2], "dev", link, *words[3:]]).check()
        host.run(["ip", "link", "set", "dev", link, "up"]).check()
    far.run(["ip", "addr", "add", f"{FAR4}/32", "dev", "lo"]).check()
    far.run(["ip", "addr", "add", f"{FAR6}/128", "dev", "lo"]).check()
    vm.run(["ip", "route", "add", "default", "via", "192.0.2.1"]).check()
    vm.run(["ip", "-6", "route", "add", "default", "via", "2001:db8:1::1"]).check()


def _meet(vm: Host, far: Host, family: int, address: str) -> None:
    """Let the neighbours find each other, so that later packets leave at once."""
    with client(far, family, socket.SOCK_DGRAM) as server:
        server.bind((address, 9))
        with client(vm, family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"good day", (address, 9))
            server.recv(16)


@pytest.fixture(scope="module")
def container(hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host behind a bridge of the vm, as Docker arranges it, forwarded and masqueraded."""
    vm = hosts[0]
    inner = Host.create("container", tmp_path_factory.mktemp("container") / "container")
    commands = [
        "ip link add anyname type bridge",
        f"ip addr add {BRIDGE4}/24 dev anyname",
        "ip link set dev anyname up",
        "ip link add port0 type veth peer name inside",
        "ip link set dev port0 master anyname up",
    ]
    for command in commands:
        vm.run(command.split()).check()
    _move(vm, inner)
    # Inside the host: /proc/sys/net is that of whoever opens it.
    vm.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]).check()
    if not vm.run(["nft", "-f", "-"], stdin=_NAT).ok:  # as WSL 5.10: only iptables-legacy has NAT
        vm.run(["sh", "-ec", _LEGACY_NAT]).check()
    yield inner
    vm.run(["ip", "link", "del", "anyname"]).check()
    if not vm.run(["nft", "delete table ip dockerlike"]).ok:
        vm.run(["iptables-legacy", "-t", "nat", "-F"]).check()
    inner.close()


_NAT = f"""
table ip dockerlike {{
    chain post {{
        type nat hook postrouting priority 100;
        ip saddr 172.31.0.0/24 oifname != "anyname" masquerade
    }}
    chain out {{
        type nat hook output priority -100;
        ip daddr {VM4} tcp dport 8088 dnat to {INNER4}:80
    }}
}}
"""


_LEGACY_NAT = f"""
iptables-legacy -t nat -A POSTROUTING -s 172.31.0.0/24 ! -o anyname -j MASQUERADE
iptables-legacy -t nat -A OUTPUT -d {VM4} -p tcp --dport 8088 -j DNAT --to-destination {INNER4}:80
"""


def _move(vm: Host, inner: Host) -> None:
    subprocess.run(
        ["nsenter", f"--net={vm.network_path}", "ip", "link", "set", "dev", "inside",
         "netns", str(inner.pid)], check=True,
    )  # fmt: skip
    for command in (
        f"ip addr add {INNER4}/24 dev inside",
        "ip link set dev inside up",
        f"ip route add default via {BRIDGE4}",
    ):
        inner.run(command.split()).check()


@pytest.fixture
def wire(hosts: tuple[Host, Host]) -> Iterator[Wire]:
    wire = Wire(*hosts)
    wire.sent()
    yield wire
    wire.close()


def new_enforcer(vm: Host, tmp_path: Path) -> Enforcer:
    """An enforcer of the vm's whole namespace, not installed yet."""
    scope = Scope(name="vm", netns=vm.network_path)
    return Enforcer(Config(policy=str(tmp_path / "policy.toml"), scopes=[scope]), scope)


@pytest.fixture
def anybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables without an owner, as on kernels or libraries that cannot keep others away."""
    monkeypatch.setenv(WITHOUT, "owner,persist")


@pytest.fixture
def enforcer(hosts: tuple[Host, Host], tmp_path: Path) -> Iterator[Enforcer]:
    """Not installed yet; taken away afterwards."""
    enforcer = new_enforcer(hosts[0], tmp_path)
    yield enforcer
    enforcer.remove()


@pytest.fixture
def installed(enforcer: Enforcer) -> Enforcer:
    """Rules in force, with listeners that a test accepts from by hand."""
    enforcer.install()
    for group in enforcer.listeners.values():
        for sock in group:
            sock.settimeout(5)
    return enforcer


def listener(enforcer: Enforcer, role: str, family: int) -> socket.socket:
    """The gate's socket for a role and an address family."""
    return next(s for s in enforcer.listeners[role] if s.family == family)


@contextlib.contextmanager
def client(host: Host, family: int, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """A socket of the host that waits at most five seconds for anything.

    TCP ends by a reset, so that nothing is sent again into the next test.
    """
    with host.socket(family, kind) as sock:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.settimeout(5)
        yield sock


def original_destination(sock: socket.socket) -> tuple[str, int]:
    """Where a redirected connection was meant for (SO_ORIGINAL_DST)."""
    if sock.family == socket.AF_INET:
        raw = sock.getsockopt(socket.SOL_IP, 80, 16)
        return socket.inet_ntoa(raw[4:8]), struct.unpack("!H", raw[2:4])[0]
    raw = sock.getsockopt(socket.IPPROTO_IPV6, 80, 28)
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]
