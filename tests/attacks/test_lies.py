"""Answers that lie: about ourselves, about others, and forged by somebody else."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

import dns.message
import dns.rrset
import pytest

from tests.attacks.tools import (
    ALLOWED,
    BLOCKED,
    OPEN,
    SENTENCE,
    SINKHOLES,
    client_hello,
    connected,
    get,
    read_all,
    records,
    refused_tls,
    resolve,
    server,
    speak,
    told,
    tunnel,
    upstream,
)
from tests.lab import Capture, Lab, Ramnet
from tests.lab import addresses as at
from tests.system.conftest import POLICY, stray
from tests.unit.wire import hello

pytestmark = pytest.mark.lab

BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
_LIAR = "198.51.100.54"


UNFIT = {
    "loopback": ("127.0.0.1", "::1"),
    "loopback-net": ("127.8.8.8",),
    "unspecified": ("0.0.0.0", "::"),
    "this-network": ("0.1.2.3",),
    "link-local": ("169.254.169.254", "fe80::1"),
    "own": (at.VM_IPV4, at.VM_IPV6),
    "sinkhole": ("240.0.0.1", "100::1"),
    "multicast": ("224.0.0.251", "ff02::fb"),
    "broadcast": ("255.255.255.255",),
    "reserved": ("250.1.2.3",),
    "ipv4-mapped": ("::ffff:127.0.0.1", f"::ffff:{at.VM_IPV4}"),
    "ipv4-compatible": ("::127.0.0.1",),
    "nat64": ("64:ff9b::7f00:1", "64:ff9b::c000:202", "64:ff9b::f000:1"),
    "nat64-local": ("64:ff9b:1:7f00:0:100::",),
    "6to4": ("2002:7f00:1::1", "2002:c000:202::1"),
    "teredo": ("2001:0:7f00:1::1",),
}


@pytest.mark.parametrize("addresses", UNFIT.values(), ids=UNFIT)
def test_an_allowed_name_that_leads_to_ourselves(
    enforced: Ramnet, lab: Lab, capture: Capture, addresses: tuple[str, ...]
) -> None:
    """DNS rebinding: loopback, own and embedded addresses are neither told nor dialled.

    smokescreen was got round by NAT64 and 6to4, and connected to itself.

    Shown by: `AddressRules.unfit` returning None.
    """
    vm = lab.vm

    def answer(query: dns.message.Message) -> Iterable[dns.rrset.RRset]:
        return records(query, *addresses, ttl=1)

    with upstream(lab, answer), contextlib.ExitStack() as services:
        heard = [services.enter_context(server(vm, own, 8083))
                 for own in ("127.0.0.1", "::1", at.VM_IPV4, at.VM_IPV6)]  # fmt: skip
        assert told(vm, ALLOWED.name) == set()
        answer_ = tunnel(vm, ("127.0.0.1", 3128), f"{ALLOWED.name}:8083", b"are you there?\n")
        assert answer_.startswith("HTTP/1.1 502 ")
        speak(vm, BLOCKED.ipv4, 8083, get(ALLOWED.name), seconds=2)
    assert heard == [[], [], [], []]
    assert not stray(capture).where(lambda packet: packet.destination != _LIAR)


def test_rebinding_under_way(enforced: Ramnet, lab: Lab, capture: Capture) -> None:
    """First a true address, then loopback, with a time to live of 0.

    Shown by: `AddressRules.unfit` returning None.
    """
    now = [ALLOWED.ipv4]
    with (
        upstream(lab, lambda query: records(query, *now, ttl=0)),
        server(lab.vm, "127.0.0.1", 80) as heard,
    ):
        assert OPEN in tunnel(lab.vm, ("127.0.0.1", 3128), f"{ALLOWED.name}:80", get(ALLOWED.name))
        now[:] = ["127.0.0.1"]
        answer = tunnel(lab.vm, ("127.0.0.1", 3128), f"{ALLOWED.name}:80", get(ALLOWED.name))
        assert answer.startswith("HTTP/1.1 502 ")
    assert heard == []


def test_many_addresses_and_no_time_to_live(enforced: Ramnet, lab: Lab, capture: Capture) -> None:
    """harden-runner used the first record only; cilium lost addresses while they were in use.

    Shown by: `DIAL_ADDRESSES` 1; `GRACE` 0.
    """
    dead = [f"203.0.113.{number}" for number in range(200, 204)]

    def answer(query: dns.message.Message) -> Iterable[dns.rrset.RRset]:
        return records(query, *dead, ALLOWED.ipv4, ttl=0)

    rules = "table inet dead { chain in { type filter hook prerouting priority -300;\n"
    rules += f"ip daddr {{ {', '.join(dead)} }} tcp dport 80 reject with tcp reset; }}; }}"
    lab.inet.run(["nft", "-f", "-"], stdin=rules).check()
    try:
        with upstream(lab, answer):
            assert resolve(lab.vm, ALLOWED.name) == {*dead, ALLOWED.ipv4}
            assert OPEN in speak(lab.vm, dead[0], 80, get(ALLOWED.name))
            # A protocol that names nobody goes by the address, which was told just now.
            with connected(lab.vm, ALLOWED.ipv4, 2525) as sock:
                assert sock.recv(3) == b"220"
    finally:
        lab.inet.run(["nft", "delete", "table", "inet", "dead"]).check()


@BOTH
def test_one_look_up_opens_nothing_for_another_name(
    enforced: Ramnet, lab: Lab, capture: Capture, family: int
) -> None:
    """cilium: one client's look-up opened an address for all. Here it opens the name alone.

    Shown by: a refused name, meant for afar, decided by its address.
    """
    vm, addresses = lab.vm, ("203.0.113.171", "2001:db8:2::ab")
    shared = addresses[family]
    with upstream(lab, lambda query: records(query, *addresses)):
        assert told(vm, ALLOWED.name) == set(addresses)
        assert told(vm, BLOCKED.name) == SINKHOLES
        capture.clear()
        assert SENTENCE in speak(vm, shared, 80, get(BLOCKED.name))
        with connected(vm, shared, 443) as sock:
            sock.sendall(hello.record(client_hello(BLOCKED.name)))
            assert refused_tls(sock)
        assert not capture.settle().sent_by_vm().to(shared)


def test_spoofed_answers(enforced: Ramnet, lab: Lab, capture: Capture) -> None:
    """Off-path: from another address, with another id, question or port; only the true one counts.

    Shown by: `read_reply` without its checks of id and question (unit tests do each).
    """
    name = "cdn.example"
    forged = "203.0.113.250"
    enforced.set_policy(POLICY.replace("version = 1", "version = 2"))

    def answer(query: dns.message.Message) -> Iterable[dns.rrset.RRset]:
        sender = liar._socket  # the true server's own socket: source and port are right
        packets = capture.settle().sent_by_vm().to(_LIAR).port(53)
        with lab.inet.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.bind(("198.51.100.55", 0))
            for packet in packets:
                client = packet.source, packet.ports[0]
                for guess in range(16):
                    fake = dns.message.make_response(query)
                    fake.answer = records(query, forged)
                    elsewhere.sendto(fake.to_wire(), client)
                    fake.id = (query.id + 1 + guess) & 0xFFFF
                    sender.sendto(fake.to_wire(), client)
                    fake.id = query.id
                    fake.question = dns.message.make_query(f"x{name}", "A").question
                    sender.sendto(fake.to_wire(), client)
        return records(query, at.CDN.ipv4)

    with upstream(lab, answer) as liar:
        assert resolve(lab.vm, name) == {at.CDN.ipv4}
    enforced.set_policy(POLICY)


def test_records_for_another_name(enforced: Ramnet, lab: Lab, capture: Capture) -> None:
    """What an upstream adds to an answer is told to nobody, and opens nothing.

    Shown by: `find` taking every record of the type asked for.
    """
    extra = "203.0.113.251"

    def answer(query: dns.message.Message) -> Iterable[dns.rrset.RRset]:
        other = dns.rrset.from_text(f"{BLOCKED.name}.", 60, "IN", "A", extra)
        return [*records(query, ALLOWED.ipv4), other]

    with upstream(lab, answer):
        assert resolve(lab.vm, ALLOWED.name) == {ALLOWED.ipv4}
        assert resolve(lab.vm, BLOCKED.name) == {"240.0.0.1"}
        with connected(lab.vm, extra, 2525) as sock:
            sock.sendall(b"anybody?\n")
            assert read_all(sock) == b""
    assert not capture.settle().sent_by_vm().to(extra)
