"""Answers that lie, and other ways to a name's address."""

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
    LEAKED,
    OPEN,
    SENTENCE,
    SINKHOLES,
    ask,
    client_hello,
    connected,
    get,
    read_all,
    records,
    refused_tls,
    resolve,
    server,
    speak,
    start_python,
    tunnel,
    upstream,
)
from tests.lab import Capture, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import POLICY, stray
from tests.unit.wire import hello

pytestmark = pytest.mark.lab

BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
KINDS = ("A", "AAAA")
_LIAR = "198.51.100.54"


def told(vm: Vm, name: str) -> set[str]:
    return resolve(vm, name, "A") | resolve(vm, name, "AAAA")


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

    Shown by: `DIAL_ADDRESSES` 1; `GRACE` 0 and the address not remembered for TTL 0.
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

    Shown by: a name that is not allowed passing where `gave` knows the address.
    """
    vm, shared = lab.vm, BLOCKED.addresses[family]
    with upstream(lab, lambda query: records(query, *BLOCKED.addresses)):
        assert told(vm, ALLOWED.name) == set(BLOCKED.addresses)
        assert told(vm, BLOCKED.name) == SINKHOLES
        capture.clear()
        assert SENTENCE in speak(vm, shared, 80, get(BLOCKED.name))
        with connected(vm, shared, 443) as sock:
            sock.sendall(hello.record(client_hello(BLOCKED.name)))
            assert refused_tls(sock)
        assert not capture.settle().sent_by_vm().to(shared)


@BOTH
@pytest.mark.parametrize("forged", [True, False], ids=["allowed-to-blocked", "blocked-to-allowed"])
def test_a_cname_across_the_border(
    enforced: Ramnet, lab: Lab, capture: Capture, family: int, forged: bool
) -> None:
    """Being a target opens nothing; an allowed name may lie anywhere; a blocked one stays so.

    Shown by: `Rulings.rule` allowing what the chain of an allowed name ended at.
    """
    vm = lab.vm
    name, target = ("alias.allowed.example", at.REGISTRY_BLOCKED)
    if not forged:
        name, target = ("alias.blocked.example", at.REGISTRY_ALLOWED)
    enforced.set_policy(POLICY + '[[registry]]\nhost = "alias.allowed.example"\n')
    try:
        addresses = told(vm, name)
        assert addresses == (set(target.addresses) if forged else SINKHOLES)
        answer = speak(vm, target.addresses[family], 80, get(name, "/v2/"))
        assert (SENTENCE in answer) != forged
        capture.clear()
        if forged:
            assert SENTENCE in speak(vm, target.addresses[family], 80, get(target.name, "/v2/"))
            assert told(vm, target.name) == SINKHOLES
            assert not capture.settle().sent_by_vm().to_site(target)
        assert not capture.settle().sent_by_vm().mentioning("blocked.example")
    finally:
        enforced.set_policy(POLICY)


@BOTH
@pytest.mark.parametrize("port", [53, 5353, 5355, 137, 1900, 853, 8853])
def test_names_by_other_protocols(
    enforced: Ramnet, lab: Lab, capture: Capture, family: int, port: int
) -> None:
    """mDNS, LLMNR, NetBIOS, SSDP, DoQ: to their groups and to a server of one's own.

    Shown by: chain `output` with policy accept and its last line left out.
    """
    query = dns.message.make_query(BLOCKED.name, "A").to_wire()
    groups = (("224.0.0.251", "224.0.0.252", "192.0.2.255"), ("ff02::fb%eth0", "ff02::1:3%eth0"))
    for address in (*groups[family], at.FOREIGN_RESOLVER.addresses[family], at.INET_IPV4):
        with lab.vm.entered():
            to = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        with lab.vm.socket(to[0], socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(query, to[4])
    assert not stray(capture)


_OWN_RESOLVER = """
import socket
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("127.0.0.1", 5300))
print("ready", flush=True)
while True:
    data, client = here.recvfrom(4096)
    for family, server in ((2, "198.51.100.53"), (10, "2001:db8:2::5353")):
        for port in (53, 5353):
            out = socket.socket(family, socket.SOCK_DGRAM)
            out.settimeout(0.3)
            try:
                out.sendto(data, (server, port))
                here.sendto(out.recv(4096), client)
            except OSError:
                continue
"""


def test_a_resolver_of_ones_own(enforced: Ramnet, vm: Vm, capture: Capture) -> None:
    """On another port of loopback; its own questions come to ours.

    Shown by: the redirect of UDP 53 left out, and policy accept.
    """
    process = start_python(vm, _OWN_RESOLVER, log="own-resolver")
    try:
        query = dns.message.make_query(BLOCKED.name, "A")
        reply = ask(vm, "127.0.0.1", query, port=5300)
    finally:
        process.stop()
    assert reply is not None
    assert {str(record) for rrset in reply.answer for record in rrset} <= SINKHOLES
    assert not stray(capture)


def test_a_second_resolver_in_resolv_conf(enforced: Ramnet, lab: Lab, capture: Capture) -> None:
    """It is asked for allowed names at most, and what it says opens nothing.

    Shown by: `Rulings._refused` asking upstream.
    """
    lab.vm.set_resolver("198.51.100.57", at.FOREIGN_RESOLVER.ipv4)
    try:
        enforced.wait_status(
            lambda status: at.FOREIGN_RESOLVER.ipv4 in str(status["scopes"][0]["resolver"])
        )
        lab.vm.run(["getent", "ahosts", BLOCKED.name])
        got = lab.vm.run(["curl", "-sSk", "--max-time", "3", f"https://{BLOCKED.name}/hello.txt"])
        assert LEAKED not in got.out
        assert SENTENCE in got.out
    finally:
        lab.vm.set_resolver(at.RESOLVER.ipv4)
        enforced.wait_status(
            lambda status: at.FOREIGN_RESOLVER.ipv4 not in str(status["scopes"][0]["resolver"])
        )
    assert not capture.settle().sent_by_vm().mentioning(BLOCKED.name)


@BOTH
def test_a_hosts_file(enforced: Ramnet, vm: Vm, capture: Capture, family: int) -> None:
    """Docker's RAM is got round by it. A blocked name there, and an allowed one's wrong address.

    Shown by: `Dialler.dial` going to the client's address; `Ruling.allowed` true for all.
    """
    wrong = BLOCKED.addresses[family]
    vm.set_hosts({BLOCKED.name: wrong, ALLOWED.name: at.ANYWHERE.addresses[family]})
    curl = ["curl", "-sSk", "--max-time", "4"]
    try:
        for scheme in ("http", "https"):
            assert SENTENCE in vm.run([*curl, f"{scheme}://{BLOCKED.name}/hello.txt"]).out
            assert OPEN in vm.run([*curl, f"{scheme}://{ALLOWED.name}/hello.txt"]).out
    finally:
        vm.set_hosts({})
    assert not stray(capture)


def test_spoofed_answers(enforced: Ramnet, lab: Lab, capture: Capture) -> None:
    """Off-path: from another address, with another id, question or port; only the true one counts.

    Shown by: `read_reply` without its checks of id and question (unit tests do each alone).
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

    Shown by: `find` keeping every record of the answer.
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
