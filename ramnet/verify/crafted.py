"""Packets and payloads that no honest program sends, made with scapy."""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Raw


class Crafted(NamedTuple):
    """``packets`` go out one after the other through a raw socket."""

    name: str
    packets: tuple[bytes, ...]


def _one(name: str, packet: Any) -> Crafted:
    return Crafted(name, (bytes(packet),))


def question(name: str, kind: str = "A") -> bytes:
    """A DNS question as a stub resolver asks it."""
    return bytes(DNS(id=0x7261, rd=1, qd=DNSQR(qname=name, qtype=kind)))


def odd_questions(name: str) -> Iterator[tuple[str, bytes]]:
    """DNS that breaks or bends the rules, about a name that is refused."""
    whole = question(name)
    yield "truncated question", whole[:-3]
    yield "header alone", whole[:12]
    yield "two questions", whole[:4] + b"\x00\x02" + whole[6:] + whole[12:]
    yield "response bit set", whole[:2] + b"\x81\x00" + whole[4:]
    yield "unknown opcode", whole[:2] + b"\x79\x00" + whole[4:]
    yield "compression loop", whole[:12] + b"\xc0\x0c\x00\x01\x00\x01"
    yield "type ANY", question(name, "ALL")
    yield "trailing bytes", whole + b"ramnet" * 8
    yield "no DNS at all", b"GET / HTTP/1.1\r\nHost: " + name.encode() + b"\r\n\r\n"


def quic_initial() -> bytes:
    """The long header of a QUIC version 1 Initial (RFC 9000, 17.2.2), padded to 1,200 bytes."""
    head = b"\xc3" + struct.pack("!I", 1) + b"\x08ramnet!!" + b"\x00" + b"\x00" + b"\x44\x9e"
    return head.ljust(1200, b"\x00")


def raw4(source: str, to: str, secret: bytes) -> Iterator[Crafted]:
    """IPv4 made by hand."""
    ip: Any = IP(src=source, dst=to)
    body = UDP(sport=40111, dport=443) / Raw(secret)
    whole = bytes(ip / body)[20:]
    padded = whole + bytes(-len(whole) % 8)
    first = bytes(IP(src=source, dst=to, id=77, flags="MF", proto=17) / Raw(padded))
    last = bytes(IP(src=source, dst=to, id=77, frag=len(padded) // 8, proto=17) / Raw(secret))
    yield Crafted("udp in two fragments", (first, last))
    yield Crafted("a fragment from the middle", (last,))
    yield _one("udp with record-route", IP(src=source, dst=to, options=[IPOption_RR()]) / body)
    yield _one("udp cut short", IP(src=source, dst=to, proto=17) / Raw(whole[:5]))
    yield _one(
        "udp with a length that lies", ip / UDP(sport=40111, dport=443, len=9000) / Raw(secret)
    )
    yield _one("spoofed source", IP(src="198.51.100.77", dst=to) / body)
    yield _one("SYN-ACK out of nothing", ip / TCP(sport=22, dport=443, flags="SA"))
    yield _one(
        "data out of nothing",
        ip / TCP(sport=40112, dport=443, flags="PA", seq=1, ack=1) / Raw(secret),
    )
    yield _one("SYN with data", ip / TCP(sport=40113, dport=8443, flags="S") / Raw(secret))
    yield _one("tcp cut short", IP(src=source, dst=to, proto=6) / Raw(bytes(7)))
    yield _one("ICMPv6 in IPv4", IP(src=source, dst=to, proto=58) / Raw(b"\x87" + bytes(23)))
    yield _one("ping with a secret", ip / ICMP() / Raw(secret))
    for protocol in (4, 41, 47, 50, 132, 253):
        yield _one(f"protocol {protocol}", IP(src=source, dst=to, proto=protocol) / Raw(secret))


def raw6(source: str, to: str, secret: bytes) -> Iterator[Crafted]:
    """IPv6 made by hand, extension headers above all."""
    ip: Any = IPv6(src=source, dst=to)
    body = UDP(sport=40111, dport=443) / Raw(secret)
    ask = UDP(sport=40111, dport=53) / Raw(secret)
    padding = [PadN(optdata=bytes(4))]
    yield _one("hop-by-hop before DNS", ip / IPv6ExtHdrHopByHop(options=padding) / ask)
    yield _one("destination options before QUIC", ip / IPv6ExtHdrDestOpt(options=padding) / body)
    yield _one("routing header", ip / IPv6ExtHdrRouting(type=4, segleft=0) / body)
    yield _one(
        "three extension headers",
        ip
        / IPv6ExtHdrHopByHop(options=padding)
        / IPv6ExtHdrDestOpt(options=padding)
        / IPv6ExtHdrRouting(type=4, segleft=0)
        / body,
    )
    data = bytes(ip / body)[40:]
    padded = data + bytes(-len(data) % 8)
    first = bytes(ip / IPv6ExtHdrFragment(id=7, m=1, nh=17) / Raw(padded))
    last = bytes(ip / IPv6ExtHdrFragment(id=7, offset=len(padded) // 8, nh=17) / Raw(secret))
    yield Crafted("udp in two fragments", (first, last))
    yield Crafted("a fragment from the middle", (last,))
    yield _one("an atomic fragment", ip / IPv6ExtHdrFragment(id=7, nh=17) / body)
    yield _one("spoofed source", IPv6(src="2001:db8:1::77", dst=to) / body)
    yield _one("udp cut short", IPv6(src=source, dst=to, nh=17) / Raw(data[:5]))
    yield _one(
        "data out of nothing",
        ip / TCP(sport=40112, dport=443, flags="PA", seq=1, ack=1) / Raw(secret),
    )
    for protocol in (1, 2, 4, 41, 47, 59, 132, 253):
        yield _one(f"next header {protocol}", IPv6(src=source, dst=to, nh=protocol) / Raw(secret))


def stray_segment(source: str, to: str, port: int) -> bytes:
    """The middle of a connection that nobody has."""
    ip: Any = IPv6(src=source, dst=to) if ":" in to else IP(src=source, dst=to)
    return bytes(ip / TCP(sport=443, dport=port, flags="PA", seq=77, ack=77) / Raw(b"more of it"))


def client_hello(server_name: str | None) -> bytes:
    """A ClientHello as OpenSSL makes it."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server_name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return out.read()
    raise AssertionError("a handshake without a peer")
