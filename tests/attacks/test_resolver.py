"""Other ways to a name's address: resolvers of one's own, files, aliases, other protocols."""

from __future__ import annotations

import contextlib
import socket

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
    get,
    speak,
    start_python,
    told,
)
from tests.lab import Capture, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import POLICY, stray

pytestmark = pytest.mark.lab

BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])


@BOTH
@pytest.mark.parametrize("forged", [True, False], ids=["allowed-to-blocked", "blocked-to-allowed"])
def test_a_cname_across_the_border(
    enforced: Ramnet, lab: Lab, capture: Capture, family: int, forged: bool
) -> None:
    """Being a target opens nothing; an allowed name may lie anywhere; a blocked one stays so.

    Shown by: a refused name, meant for afar, decided by its address; `Judge.decide` allowing
    every name.
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
            # The end of the allowed connection may still be on its way.
            sent = capture.settle().sent_by_vm().to_site(target)
            assert not sent.where(lambda packet: "S" in packet.tcp_flags)
        assert not capture.settle().sent_by_vm().mentioning("blocked.example")
    finally:
        enforced.set_policy(POLICY)


@BOTH
@pytest.mark.parametrize("port", [53, 5353, 5355, 137, 1900, 853, 8853])
def test_names_by_other_protocols(
    enforced: Ramnet, lab: Lab, capture: Capture, family: int, port: int
) -> None:
    """mDNS, LLMNR, NetBIOS, SSDP, DoQ: to their groups and to a server of one's own.

    Shown by: chain `output` with policy accept and without its last line.
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

    Shown by: the redirect of port 53 left out; `Judge.decide` allowing every name.
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

    Shown by: `Rulings._refused` asking upstream; `Judge.decide` allowing every name.
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

    Shown by: `Judge.decide` allowing every name; HTTP and refused TLS decided by address.
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
