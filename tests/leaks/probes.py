"""What the prober tries: a plan is JSON for `prober.py`, made here from the lab's addresses."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import dns.message

from tests.lab import addresses as at

Probe = dict[str, Any]

#: The bystanders' service in the vm, and the port that a container of the vm publishes.
LOCAL_PORT, PUBLISHED_PORT = 9100, 8080
#: How the far end gives itself away to a probe that should not have reached it.
MARKS = (
    b"you reached inet",
    b"hello from",
    b"leak?",  # its UDP service echoes
    socket.inet_aton(at.FOREIGN_ANSWER.ipv4),
    socket.inet_pton(socket.AF_INET6, at.FOREIGN_ANSWER.ipv6),
)
_TCP_PORTS = (21, 22, 25, 143, 465, 853, 993, 1080, 2375, 3128, 4443, 5000, 6443, 8080, 8443, 9418,
              11371, 50051)  # fmt: skip
_UDP_PORTS = (53, 69, 80, 123, 443, 500, 853, 1194, 4500, 5353, 33434, 51820)
_GRE = 47
BLOCKED = at.REGISTRY_BLOCKED


def probe(
    name: str,
    address: str,
    port: int,
    payload: bytes = b"leak?",
    *,
    type_: str = "SOCK_STREAM",
    protocol: int = 0,
    marks: tuple[bytes, ...] = MARKS,
    steady: bool = False,
    every: float = 0.05,
    seconds: float = 0.5,
    old: bool = False,
    cut: bool = False,
    device: str = "",
) -> Probe:
    """One thing to try; a steady one is tried every `every` seconds and wants its mark.

    Connections that are kept: an `old` one is opened once; one that is `cut` must break.
    """
    return {
        "name": name, "address": address, "port": port, "payload": payload.hex(),
        "old": old, "cut": cut, "device": device,
        "family": "AF_INET6" if ":" in address else "AF_INET", "type": type_,
        "protocol": protocol, "marks": [mark.hex() for mark in marks], "steady": steady,
        "every": every, "seconds": seconds,
    }  # fmt: skip


def hello(server_name: str | None) -> bytes:
    """A ClientHello as OpenSSL makes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server_name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return out.read()
    raise AssertionError("a handshake without a peer")


def request(host: str) -> bytes:
    return f"GET /hello.txt HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def _question(name: str) -> bytes:
    return dns.message.make_query(name, "A", id=4711).to_wire()


def forbidden() -> list[Probe]:
    """All that must not leave, IPv4 and IPv6 of each."""
    return [found for family in (0, 1) for found in _of_family(family)]


def _of_family(family: int) -> Iterator[Probe]:
    question = _question(BLOCKED.name)
    framed = len(question).to_bytes(2, "big") + question
    for server in (at.FOREIGN_RESOLVER, at.RESOLVER):
        address = server.addresses[family]
        yield probe("dns udp", address, 53, question, type_="SOCK_DGRAM")
        yield probe("dns tcp", address, 53, framed)
    for port in _TCP_PORTS:
        yield probe("tcp", at.ANYWHERE.addresses[family], port)
    for port in _UDP_PORTS:
        address = at.REGISTRY_ALLOWED.addresses[family]
        yield probe("udp", address, port, type_="SOCK_DGRAM", seconds=0.1)
    yield from _bound(family)
    for site in (BLOCKED, at.FILES_ALLOWED):
        address = site.addresses[family]
        yield probe("tls blocked name", address, 443, hello(BLOCKED.name))
        yield probe("tls no name", address, 443, hello(None))
        yield probe("http blocked name", address, 80, request(BLOCKED.name))
    anywhere = at.ANYWHERE.addresses[family]
    ping, echo = [("icmp", b"\x08\x00"), ("ipv6-icmp", b"\x80\x00")][family]
    number = socket.getprotobyname(ping)
    yield probe("icmp", anywhere, 0, echo + bytes(6), type_="SOCK_RAW", protocol=number,
                seconds=0.05)  # fmt: skip
    yield probe("gre", anywhere, 0, bytes(8), type_="SOCK_RAW", protocol=_GRE, seconds=0.05)


def _bound(family: int) -> Iterator[Probe]:
    """By sockets bound to the uplink (SO_BINDTODEVICE), which no redirect takes off it."""
    anywhere, foreign = at.ANYWHERE.addresses[family], at.FOREIGN_RESOLVER.addresses[family]
    for port in (443, 8443):
        yield probe("bound tcp", anywhere, port, device=at.VM_UPLINK)
    yield probe("bound dns", foreign, 53, _question(BLOCKED.name), type_="SOCK_DGRAM",
                device=at.VM_UPLINK)  # fmt: skip


def allowed(seconds: float = 2) -> list[Probe]:
    """What must work whenever the service is well: by its outcomes, health is timed."""
    site = at.FILES_ALLOWED
    return [
        probe("allowed", site.ipv4, 80, request(site.name), marks=(b"hello from",),
              steady=True, every=0.02, seconds=seconds)
    ]  # fmt: skip


def bystanders_inside() -> list[Probe]:
    """Loopback services, and a published port by loopback, seen from the scope.

    They may wait for a gate that is being started, on a machine that has much to do; they may not
    fail.
    """
    greeting = (b"220 ",)
    return [
        probe("loopback", "127.0.0.1", LOCAL_PORT, b"", marks=greeting, steady=True,
              seconds=10),
        probe("loopback", "::1", LOCAL_PORT, b"", marks=greeting, steady=True, seconds=10),
        probe("published inside", "127.0.0.1", PUBLISHED_PORT, request("vm"),
              marks=(b"HTTP/1.1 ",), steady=True, every=0.1, seconds=10),
    ]  # fmt: skip


def bystanders_outside() -> list[Probe]:
    """Connections from outside to a service and to a published port of the vm.

    A refusal fails at once, silence after six seconds: two lost SYNs are borne (RFC 6298).
    """
    greeting = (b"220 ",)
    return [
        probe("inbound", at.VM_IPV4, LOCAL_PORT, b"", marks=greeting, steady=True, seconds=6),
        probe("inbound", at.VM_IPV6, LOCAL_PORT, b"", marks=greeting, steady=True, seconds=6),
        probe("published", at.VM_IPV4, PUBLISHED_PORT, request("vm"), marks=(b"HTTP/1.1 ",),
              steady=True, every=0.1, seconds=6),
    ]  # fmt: skip


def flow() -> Probe:
    """A connection to an allowed site that is used and never closed by us."""
    return probe("flow", at.CDN.ipv4, 80, request(at.CDN.name))


def old() -> list[Probe]:
    """Connections older than the rules; they go on talking, those over TCP until they are cut."""
    made = []
    for family in (0, 1):
        anywhere, foreign = at.ANYWHERE.addresses[family], at.FOREIGN_RESOLVER.addresses[family]
        made += [
            probe(f"old tcp {family}", anywhere, 7777, old=True, cut=True),
            probe(f"old http {family}", BLOCKED.addresses[family], 80, request(BLOCKED.name),
                  old=True, cut=True),
            probe(f"old udp {family}", anywhere, 443, type_="SOCK_DGRAM", old=True),
            probe(f"old dns {family}", foreign, 53, _question(BLOCKED.name), type_="SOCK_DGRAM",
                  old=True),
        ]  # fmt: skip
    return made


def plan(
    probes: list[Probe], flows: list[Probe] | None = None, *, tick: float = 0.004, each: int = 2
) -> dict[str, Any]:
    """`each` forbidden probes are begun every `tick` seconds."""
    return {"tick": tick, "each": each, "probes": probes, "flows": flows or []}
