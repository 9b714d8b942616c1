"""Whoever is not covered is so for the time of a lease, whatever becomes of the service."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Packet

from ramnet.config import Config, Scope
from ramnet.kernel.cover import CoverRules
from ramnet.kernel.enforcer import Enforcer
from ramnet.kernel.examination import examine
from ramnet.ruleset import cover
from ramnet.verify import listing
from tests.kernel.conftest import BRIDGE4, FAR4, INNER4, Wire, client
from tests.lab.host import Host
from tests.lab.processes import wait_until

Hosts = tuple[Host, Host]
BRIDGE = frozenset({"anyname"})
OTHERS = frozenset({INNER4})


def configured(vm: Host, tmp_path: Path) -> tuple[Config, Scope]:
    scope = Scope(name="vm", netns=vm.network_path, containers=["buildx"])
    return Config(policy=str(tmp_path / "policy.toml"), scopes=[scope]), scope


def make_covering(vm: Host, tmp_path: Path) -> Enforcer:
    return Enforcer(*configured(vm, tmp_path))


@pytest.fixture
def covering(hosts: Hosts, container: Host, tmp_path: Path) -> Iterator[Enforcer]:
    """An enforcer with a cover, installed."""
    enforcer = make_covering(hosts[0], tmp_path)
    enforcer.install()
    yield enforcer
    enforcer.remove()


def rules(enforcer: Enforcer) -> CoverRules:
    assert enforcer.cover is not None
    return enforcer.cover


def leases(enforcer: Enforcer) -> dict[str, int]:
    return enforcer.namespace.call(rules(enforcer)._nft.leases, rules(enforcer).table)


def send(container: Host) -> None:
    with client(container, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"secret", (FAR4, 123))


def test_the_kernel_forgets_whom_nobody_tells_of(
    covering: Enforcer, container: Host, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cover, "LEASE", 1.0)
    rules(covering).follow(BRIDGE, OTHERS)
    send(container)
    assert wire.sent(), "this wire would have seen it"
    wait_until("the end of the lease", lambda: not leases(covering), 10)
    send(container)
    assert wire.sent() == []
    assert covering.intact(), "what ends by itself is no other hand's"


def test_to_ask_again_is_to_begin_anew(covering: Enforcer) -> None:
    rules(covering).follow(BRIDGE, OTHERS)
    _shorten(rules(covering))
    assert leases(covering)[INNER4] <= 2
    rules(covering).follow(BRIDGE, OTHERS)
    assert leases(covering)[INNER4] > 2
    assert not rules(covering).tampered().rules


def _shorten(rules: CoverRules) -> None:
    """As if nearly all of the time were over."""
    elements = f"inet {rules.table} others4 {{ {INNER4}"
    rules._run(f"delete element {elements} }}\nadd element {elements} timeout 2s }}\n")


def test_a_start_prolongs_nothing(
    hosts: Hosts, container: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that ends and starts all the time would do so for ever."""
    monkeypatch.setattr(cover, "LEASE", 60.0)
    first = make_covering(hosts[0], tmp_path)
    first.install()
    rules(first).follow(BRIDGE, OTHERS)
    first.close()
    monkeypatch.setattr(cover, "LEASE", 1000.0)
    again = make_covering(hosts[0], tmp_path)
    again.install()
    assert rules(again).covered.watched == BRIDGE
    assert 0 < leases(again)[INNER4] <= 60
    again.remove()


def test_mending_prolongs_nothing(covering: Enforcer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops the service (SIGSTOP) and lets it go on does not get an address back."""
    rules(covering).follow(BRIDGE, OTHERS)
    late = time.monotonic() + cover.LEASE
    monkeypatch.setattr("ramnet.kernel.cover.time.monotonic", lambda: late)
    covering.restore(sets=True)
    assert leases(covering) == {}


def test_verify_reads_these_rules_too(covering: Enforcer, hosts: Hosts, tmp_path: Path) -> None:
    rules(covering).follow(BRIDGE, OTHERS)

    def missing() -> list[tuple[str, str]]:
        found = examine(*configured(hosts[0], tmp_path))
        return [(each.what, each.chain) for each in listing.differences(found)]

    assert missing() == []
    table = rules(covering).table
    rules(covering)._run(f"flush chain inet {table} guard\n")
    assert missing() == [("missing", "guard")] * 3
    rules(covering)._run(f"delete table inet {table}\n")
    assert {chain for _, chain in missing()} >= {"arriving", "forward", "covered", "guard"}


@pytest.mark.parametrize("make", [
    lambda n: ICMP(id=n), lambda n: UDP(sport=n, dport=4321),
], ids=["echo", "closed port"])  # fmt: skip
def test_no_answer_of_ours_goes_to_whose_address_is_borrowed(
    covering: Enforcer,
    container: Host,
    hosts: Hosts,
    wire: Wire,
    make: Callable[[int], Packet],
) -> None:
    for name in ("all", "anyname"):
        loose = f"echo 0 >/proc/sys/net/ipv4/conf/{name}/rp_filter"
        hosts[0].run(["sh", "-c", loose]).check()
    for number, watched in enumerate((frozenset[str](), BRIDGE)):
        rules(covering).follow(watched, frozenset())
        _send_as_far(container, make(1000 + number) / b"secret")
        left = wire.sent()
        assert bool(left) is not bool(watched), "it leaves where nobody is covered"


def _send_as_far(container: Host, data: Packet) -> None:
    with container.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(bytes(IP(src=FAR4, dst=BRIDGE4) / data), (BRIDGE4, 0))
