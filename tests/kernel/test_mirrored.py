"""WSL 2 in mirrored networking mode, arranged as its NetworkManager.cpp arranges it.

TCP and UDP for 127.0.0.1 and for own addresses leave for Windows before the table of local
addresses is asked, and a chain of WSL's marks all that the machine sends.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.config import Config, Proxy, Scope
from ramnet.kernel.enforcer import Enforcer
from ramnet.ruleset import Tier
from tests.kernel.conftest import FAR4, VM4, Wire, client, listener, new_enforcer
from tests.kernel.conftest import original_destination as meant
from tests.lab.host import Host

TUNNEL = "10.255.255.254"
"""Where WSL's DNS tunnel listens, an address on lo."""
_MIRRORED = f"""
ip link add loopback0 type veth peer name windows
ip link set windows up
ip addr add 169.254.73.153/30 dev loopback0
ip link set loopback0 up
ip neigh add 169.254.73.152 lladdr 00:11:22:33:44:55 dev loopback0
ip neigh add 192.0.2.99 lladdr 00:11:22:33:44:55 dev eth0
for dev in loopback0 eth0; do
    echo 1 >/proc/sys/net/ipv4/conf/$dev/accept_local
    echo 1 >/proc/sys/net/ipv4/conf/$dev/route_localnet
done
ip addr add {TUNNEL}/32 dev lo
for dev in loopback0 eth0; do
    for proto in tcp udp; do ip rule add pref 0 iif $dev ipproto $proto lookup local; done
done
for table in 127 128; do
    for proto in tcp udp; do ip rule add pref 1 ipproto $proto lookup $table; done
done
ip rule add pref 2 lookup local
ip rule del pref 0 lookup local
ip route add 127.0.0.1 via 169.254.73.152 dev loopback0 table 127
ip route add {VM4} via 192.0.2.99 dev eth0 table 128
nft add table ip filter
nft 'add chain ip filter WSLOUTPUT {{ type filter hook output priority filter; }}'
nft add rule ip filter WSLOUTPUT counter mark set 0x1
"""
_AS_BEFORE = f"""
nft delete table ip filter
ip route flush table 128
ip route flush table 127
ip rule add pref 0 lookup local
while ip rule del pref 2 2>/dev/null; do :; done
while ip rule del pref 1 2>/dev/null; do :; done
for dev in loopback0 eth0; do
    for proto in tcp udp; do ip rule del pref 0 iif $dev ipproto $proto lookup local; done
    echo 0 >/proc/sys/net/ipv4/conf/$dev/accept_local
    echo 0 >/proc/sys/net/ipv4/conf/$dev/route_localnet
done
ip addr del {TUNNEL}/32 dev lo
ip neigh del 192.0.2.99 dev eth0
ip link del loopback0
"""
_RULES = "ip rule"
_NO_NAT = "a kernel without NAT has no mirrored mode: WSL masquerades in it"


@pytest.fixture
def mirrored(hosts: tuple[Host, Host]) -> Iterator[Host]:
    hosts[0].run(["sh", "-ec", _MIRRORED]).check()
    yield hosts[0]
    hosts[0].run(["sh", "-ec", _AS_BEFORE]).check()


@pytest.fixture
def enforcer(mirrored: Host, tmp_path: Path) -> Iterator[Enforcer]:
    enforcer = new_enforcer(mirrored, tmp_path)
    if enforcer.tier is not Tier.REDIRECT:
        enforcer.close()
        pytest.skip(_NO_NAT)
    yield enforcer
    enforcer.remove()


def test_tcp_comes_to_the_gate_and_is_answered(
    mirrored: Host, wire: Wire, installed: Enforcer
) -> None:
    with client(mirrored, socket.AF_INET) as sock:
        sock.connect((FAR4, 443))
        accepted, _ = listener(installed, "transparent", socket.AF_INET).accept()
        with accepted:
            assert meant(accepted) == (FAR4, 443)
            accepted.sendall(b"answer")
            assert sock.recv(16) == b"answer"
    assert wire.sent() == []


@pytest.mark.parametrize("server", [FAR4, TUNNEL, "127.0.0.1", "127.0.0.53", VM4])
def test_dns_comes_to_the_gate_and_is_answered(
    mirrored: Host, wire: Wire, installed: Enforcer, server: str
) -> None:
    with client(mirrored, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((server, 53))
        sock.send(b"question")
        resolver = listener(installed, "dns-udp", socket.AF_INET)
        question, asker = resolver.recvfrom(512)
        resolver.sendto(b"answer", asker)
        assert (question, sock.recv(512)) == (b"question", b"answer")
    assert wire.sent() == []


def test_the_explicit_proxy_is_reached(mirrored: Host, tmp_path: Path) -> None:
    scope = Scope(name="vm", netns=mirrored.network_path)
    config = Config(
        policy=str(tmp_path / "policy.toml"),
        scopes=[scope],
        proxy=Proxy(explicit=["127.0.0.1:3128"]),
    )
    enforcer = Enforcer(config, scope)
    if enforcer.tier is not Tier.REDIRECT:
        enforcer.close()
        pytest.skip(_NO_NAT)
    try:
        enforcer.install()
        with client(mirrored, socket.AF_INET) as sock:
            sock.connect(("127.0.0.1", 3128))
            (proxy,) = enforcer.listeners["explicit"]
            proxy.settimeout(5)
            accepted, _ = proxy.accept()
            with accepted:
                accepted.sendall(b"answer")
                assert sock.recv(16) == b"answer"
    finally:
        enforcer.remove()


def test_windows_loopback_is_no_way_out(mirrored: Host, wire: Wire, installed: Enforcer) -> None:
    """A proxy on Windows' own loopback, were it reached past the gate, would open everything."""
    with mirrored.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as windows:
        windows.bind(("windows", 0x0800))
        windows.settimeout(0.5)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with client(mirrored, socket.AF_INET, kind) as sock:
                sock.setblocking(False)
                with contextlib.suppress(OSError):
                    sock.connect(("127.0.0.1", 8888))
                    sock.send(b"x")
        with pytest.raises(TimeoutError):
            windows.recv(2048)


def test_rules_that_come_later_or_go_are_seen_and_mended(
    hosts: tuple[Host, Host], wire: Wire, tmp_path: Path
) -> None:
    """WSL may mirror an interface while the service runs."""
    vm = hosts[0]
    before = vm.run(["sh", "-c", _RULES]).check().out
    enforcer = new_enforcer(vm, tmp_path)
    if enforcer.tier is not Tier.REDIRECT:
        enforcer.close()
        pytest.skip(_NO_NAT)
    enforcer.install()
    assert vm.run(["sh", "-c", _RULES]).check().out == before, "nothing where nothing is needed"
    try:
        vm.run(["sh", "-ec", _MIRRORED]).check()
        assert not enforcer.intact()
        assert "127.0.0.1" in enforcer.restore(sets=False)
        assert enforcer.intact()
        vm.run(["ip", "rule", "del", "pref", "0", "to", "127.0.0.1", "ipproto", "udp"]).check()
        assert not enforcer.intact()
        enforcer.restore(sets=False)
        assert enforcer.intact()
    finally:
        enforcer.remove()
        left = vm.run(["sh", "-c", _RULES]).check().out
        vm.run(["sh", "-ec", _AS_BEFORE]).check()
    assert "proto 92" not in left
    assert vm.run(["sh", "-c", _RULES]).check().out == before
