"""Every promise as something to try; see the package's docstring for what is tried where."""

import ipaddress
import struct
from collections.abc import Iterator
from typing import Any, Final

from ramnet.kernel.bench import UPLINK
from ramnet.ruleset import GATE_UID, SINKHOLE4, SINKHOLE6, promises
from ramnet.ruleset.promises import Promise
from ramnet.verify import crafted
from ramnet.verify.capture import Packet
from ramnet.verify.inside import Answer
from ramnet.verify.probe import (
    Judge,
    Place,
    Probe,
    Run,
    not_reached,
    reached,
    refused,
    refused_as,
    said,
    silent,
)
from ramnet.verify.prober import GREETING

SERVICE: Final = 8099
"""Of the scope: greets over TCP, answers over UDP."""
CLOSED_PORT: Final = 8098
_TCP, _UDP, _RAW = "SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW"
_SINKHOLES: Final = {4: SINKHOLE4, 6: SINKHOLE6}
_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}
_WITHOUT_CGROUP: Final = (
    "this kernel tells the gate by its uid alone (caveat kernel-capabilities)"
)
_RST: Final = 4
_QUIET: Final = 0.15
"""Seconds to wait for what must not come."""
_PING: Final = {4: (1, b"\x08\x00\xf7\xff"), 6: (58, b"\x80\x00\x00\x00")}
"""Protocol and head of an echo request; IPv4's with its checksum, without which none is refused."""
_REFUSED_UDP: Final = ("ECONNREFUSED",)
_REFUSED_OTHER: Final = ("EHOSTUNREACH", "EACCES")


def every_probe(place: Place) -> Iterator[Probe]:
    """Those of both IP versions that the place has."""
    for version in sorted(place.own):
        for group in (_dns, _closed, _names, _around, _guard, _near):
            yield from group(place, version)
        yield from _crafted(place, version)
        yield from _bench_only(version)
    yield from _link()


_NOBODYS: Final = b"\x00ramnet verify\r\n"
"""Of no protocol that tells a name."""


def _tcp(to: str, port: int, payload: bytes = _NOBODYS, **more: Any) -> Run:
    return lambda place: place.inside.ask(
        "exchange", kind=_TCP, to=to, port=port, payload=payload.hex(), **more
    )


def _udp(to: str, port: int, payload: bytes, **more: Any) -> Run:
    return lambda place: place.inside.ask(
        "exchange", kind=_UDP, to=to, port=port, payload=payload.hex(), **{"seconds": 1.0, **more}
    )


def _dns(place: Place, version: int) -> Iterator[Probe]:
    """To a resolver that nobody configured, about a name that is refused."""
    question, to = crafted.question(place.blocked_name), place.foreign[version]
    framed = struct.pack("!H", len(question)) + question
    answered = _dns_answered if version in place.decided else refused
    sent = f"A {place.blocked_name} to {to}"
    make = _maker(promises.DNS, version)
    yield make("dns udp", f"{sent}, UDP", _udp(to, 53, question), answered, bare=True)
    yield make("dns tcp", f"{sent}, TCP", _tcp(to, 53, framed), answered, bare=True)
    for name, odd in crafted.odd_questions(place.blocked_name):
        run = _udp(to, 53, odd, seconds=_QUIET)
        yield make(f"dns udp, {name}", f"{name} to {to}", run, not_reached, bare=True)
    short = framed[:9]
    yield make("dns tcp, cut short", f"9 bytes to {to}", _tcp(to, 53, short, seconds=_QUIET),
               not_reached, bare=True)  # fmt: skip
    yield make("dns over tls", f"TCP to {to} port 853", _tcp(to, 853), refused_as(*_REFUSED_UDP),
               bare=True)  # fmt: skip
    yield make("dns over quic", f"UDP to {to} port 853", _udp(to, 853, crafted.quic_initial()),
               refused_as(*_REFUSED_UDP), bare=True)  # fmt: skip
    hello = crafted.client_hello(None)
    yield make("dns over https, by address", f"TLS to {to} without a name", _tcp(to, 443, hello),
               refused, bare=True)  # fmt: skip
    if version == 4:
        loopback = _udp("127.0.0.1", 53, question)
        yield make("dns to loopback", f"{place.blocked_name} to 127.0.0.1", loopback, answered)
        loopback = _tcp("127.0.0.1", 53, framed)
        yield make("dns to loopback, tcp", f"{place.blocked_name} to 127.0.0.1, TCP", loopback,
                   answered)  # fmt: skip


def _dns_answered(place: Place, answer: Answer) -> str | None:
    """By the gate: a refusal, be it the sinkhole's address or an error."""
    sinkhole = ipaddress.ip_address(SINKHOLE4).packed
    reply = answer.data[2:] if answer.data[2:4] == b"ra" else answer.data
    if reply[:2] == b"ra" and (sinkhole in reply or reply[3] & 15 in (3, 5)):
        return None
    return f"the policy did not answer: {answer}"


def _closed(place: Place, version: int) -> Iterator[Probe]:
    to, make = place.blocked[version], _maker(promises.CLOSED, version)
    for port in (22, 443, 5000, 8443):
        yield make(f"tcp {port}", f"TCP to {to} port {port}", _tcp(to, port), refused, bare=True)
    for port in (80, 123, 4789, 51820):
        yield make(f"udp {port}", f"UDP to {to} port {port}", _udp(to, port, place.secret),
                   refused_as(*_REFUSED_UDP), bare=True)  # fmt: skip
    yield make("quic", f"a QUIC Initial to {to}", _udp(to, 443, crafted.quic_initial()),
               refused_as(*_REFUSED_UDP), bare=True)  # fmt: skip
    number, head = _PING[version]
    for name, protocol, payload in (("ping", number, head + bytes(4)), ("gre", 47, bytes(8))):
        yield make(name, f"{name} to {to}", _protocol(to, protocol, payload),
                   refused_as(*_REFUSED_OTHER), bare=True)  # fmt: skip


def _protocol(to: str, protocol: int, payload: bytes) -> Run:
    return lambda place: place.inside.ask(
        "exchange", kind=_RAW, to=to, protocol=protocol, payload=payload.hex(), seconds=1.0
    )


def _names(place: Place, version: int) -> Iterator[Probe]:
    """What decides is the name in the connection itself."""
    name, to = place.blocked_name, place.blocked[version]
    make = _maker(promises.PULL, version)
    says = said if version in place.decided else refused
    http = f"GET /v2/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
    until = {"until": [b"disallowed".hex()]}
    yield make("http, refused name", f"GET from {to}, Host {name}", _tcp(to, 80, http, **until),
               says, bare=True)  # fmt: skip
    sinkhole = _SINKHOLES[version]
    yield make("http, sinkhole", f"GET from {sinkhole}, Host {name}",
               _tcp(sinkhole, 80, http, **until), says)  # fmt: skip
    hello = crafted.client_hello(name)
    yield make("tls, refused name", f"TLS to {to}, SNI {name}", _tcp(to, 443, hello), refused,
               bare=True)  # fmt: skip
    if not place.allowed:
        return
    good, allowed = place.allowed_name, place.allowed[version]
    make = _maker(promises.NO_WAY_ROUND, version)
    lying = http.replace(name.encode(), good.encode())
    # An allowed name at another's address is dialled where the name is.
    yield make("http, allowed name at another address", f"GET from {to}, Host {good}",
               _tcp(to, 80, lying), not_reached if version not in place.decided else reached,
               may_leave=_to_allowed, bench=True)  # fmt: skip
    two = http.replace(b"\r\n\r\n", f"\r\nHost: {good}\r\n\r\n".encode())
    yield make("http, two Hosts", f"GET from {allowed}, Host {name} and {good}",
               _tcp(allowed, 80, two), not_reached, bench=True)  # fmt: skip
    absolute = lying.replace(b"GET /v2/", f"GET http://{name}/v2/".encode())
    yield make("http, target against Host", f"GET http://{name}/ with Host {good}",
               _tcp(allowed, 80, absolute), not_reached, bench=True)  # fmt: skip
    yield make("tls, refused name at an allowed address", f"TLS to {allowed}, SNI {name}",
               _tcp(allowed, 443, hello), not_reached, bench=True)  # fmt: skip
    if version in place.decided:
        make = _maker(promises.PULL, version)
        for what, port, payload in (("http", 80, lying), ("tls", 443, crafted.client_hello(good))):
            yield make(f"{what}, allowed name", f"{what.upper()} to {allowed}, {good}",
                       _tcp(allowed, port, payload), reached, may_leave=_to_allowed,
                       bench=True)  # fmt: skip


def _to_allowed(place: Place, packet: Packet) -> bool:
    """The gate's own question and connection."""
    return packet.ports[1] == 53 or packet.destination in place.allowed.values()


def _around(place: Place, version: int) -> Iterator[Probe]:
    name, to = place.blocked_name, place.blocked[version]
    make = _maker(promises.NO_WAY_ROUND, version)
    connect = f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n".encode()
    by_address = f"CONNECT {_bracketed(to)}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    socks4 = b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00" + name.encode() + b"\x00"
    proxies = {"far": to, "near": _LOOPBACK[version]}
    for where, proxy in proxies.items():
        port = 3128 if where == "far" else place.explicit
        if port is None or (where == "near" and version == 6):
            continue
        for what, payload in (("CONNECT", connect), ("CONNECT by address", by_address),
                              ("SOCKS 4a", socks4)):  # fmt: skip
            yield make(f"{what}, proxy {where}", f"{what} {name} to {proxy} port {port}",
                       _tcp(proxy, port, payload), refused, bare=where == "far")  # fmt: skip
    yield make("SOCKS 5, proxy far", f"SOCKS 5 greeting to {to} port 1080",
               _tcp(to, 1080, b"\x05\x01\x00"), not_reached, bare=True)  # fmt: skip
    make = _maker(promises.OWN, version)
    for kind, run in (
        ("udp", _udp(to, 443, place.secret, uid=GATE_UID)),
        ("tcp", _tcp(to, 8443, uid=GATE_UID)),
    ):
        yield make(f"{kind} with the gate's uid", f"{kind.upper()} to {to} as uid {GATE_UID}", run,
                   refused, bare=True,
                   why_not=lambda p: _WITHOUT_CGROUP
                   if "socket_cgroupv2" in p.lacks and not p.member else None)  # fmt: skip


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _guard(place: Place, version: int) -> Iterator[Probe]:
    """By sockets bound to the uplink, which no redirect takes off it."""
    make, sinkhole = _maker(promises.GUARD, version), _SINKHOLES[version]
    to = place.blocked[version]
    device: dict[str, Any] = {"device": place.device, "seconds": _QUIET}
    question = crafted.question(place.blocked_name)
    sent = f"bound to {place.device}"
    yield make("tcp, bound to the uplink", f"TCP to {to}, {sent}", _tcp(to, 443, **device),
               not_reached, bare=True)  # fmt: skip
    yield make("dns, bound to the uplink", f"DNS to {place.foreign[version]}, {sent}",
               _udp(place.foreign[version], 53, question, **device), not_reached, bare=True)  # fmt: skip
    yield make("udp to the sinkhole", f"UDP to {sinkhole}", _udp(sinkhole, 443, place.secret),
               refused)  # fmt: skip
    yield make("udp to the sinkhole, bound", f"UDP to {sinkhole}, {sent}",
               _udp(sinkhole, 443, place.secret, **device), not_reached)  # fmt: skip


def _near(place: Place, version: int) -> Iterator[Probe]:
    make, loopback = _maker(promises.NEAR, version), _LOOPBACK[version]
    greeted: Judge = lambda _, a: None if a.data == GREETING else f"no service there: {a}"  # noqa: E731
    sent = f"to a service on {loopback}"
    yield make("tcp to loopback", f"TCP {sent}", _tcp(loopback, SERVICE, b"", seconds=8.0), greeted,
               bench=True)  # fmt: skip
    yield make("udp to loopback", f"UDP {sent}", _udp(loopback, SERVICE, b"hello"), greeted,
               bench=True)  # fmt: skip
    yield make("a closed port of loopback", f"TCP to {loopback} port {CLOSED_PORT}",
               _tcp(loopback, CLOSED_PORT, b""), refused_as(*_REFUSED_UDP))  # fmt: skip


def _crafted(place: Place, version: int) -> Iterator[Probe]:
    source, to = place.own[version], place.blocked[version]
    make = _maker(promises.CLOSED, version)
    packets = crafted.raw4 if version == 4 else crafted.raw6
    for each in packets(source, to, place.secret):
        for nodefrag in (False, True)[: 2 if "fragment" in each.name and version == 4 else 1]:
            name = f"raw, {each.name}{', unassembled' if nodefrag else ''}"
            hexed = [packet.hex() for packet in each.packets]
            run: Run = lambda p, hexed=hexed, nodefrag=nodefrag: p.inside.ask(  # type: ignore[misc]  # noqa: E731
                "raw", to=to, packets=hexed, nodefrag=nodefrag
            )
            yield make(name, f"{each.name} to {to}", run, bare=True)


def _bench_only(version: int) -> Iterator[Probe]:
    """What somebody beyond the wire begins, or answers."""
    make = _maker(promises.INBOUND, version)
    answers = _from_service
    yield make("inbound tcp", f"a connection to port {SERVICE} of the scope",
               lambda p: Answer(_far(p).ask(p.own[version], SERVICE)), _greeted,
               may_leave=answers, bench=True)  # fmt: skip
    yield make("inbound udp", f"a datagram to port {SERVICE} of the scope",
               lambda p: Answer(_far(p).ask(p.own[version], SERVICE, b"hi", udp=True)), _greeted,
               may_leave=answers, bench=True,
               why_not=lambda p: "this kernel cannot tell who asked first"
               if p.tier == "anyip" and p.lacks & {"ct", "ct_mark"} else None)  # fmt: skip
    make = _maker(promises.OLD, version)
    yield make("tcp in mid-stream", "a segment of a connection that nobody has",
               lambda p: _stray(p, version), bench=True, may_leave=_bare_reset,
               why_not=_of_members("a segment without a socket is nobody's"))  # fmt: skip
    yield make("udp to an ephemeral port", "a datagram to a port of the ephemeral range",
               lambda p: _ephemeral(p, version), silent, bench=True,
               why_not=lambda p: _of_members("others' sockets are not restricted")(p)
               or (None if p.tier == "redirect" else f"tier {p.tier} lets it in, no answer out"))  # fmt: skip
    for kind in ("tcp", "udp"):
        yield make(f"an old {kind} connection", f"{kind.upper()} that was open before the rules",
                   lambda p, kind=kind: _talk_on(p, f"{kind}{version}"), not_reached, bench=True,
                   why_not=_of_members("it was opened before it was in the cgroup"))  # fmt: skip
    if version == 6:
        make = _maker(promises.OWN, version)
        yield make("a refusal that goes elsewhere",
                   "UDP from an address of the far end's (IPV6_FREEBIND), whose refusal quotes it",
                   lambda p: p.inside.ask(
                       "exchange", kind=_UDP, to=p.blocked[6], port=443, seconds=_QUIET,
                       payload=p.secret.hex(), **{"from": (p.foreign[6], 0)}),
                   bench=True)  # fmt: skip
        for kind in (_TCP, _UDP):
            yield make(f"an answer to ourselves, {kind[5:].lower()}",
                       "from an address of the far end's to an own service (IPV6_FREEBIND)",
                       lambda p, kind=kind: p.inside.ask(
                           "exchange", kind=kind, to=p.own[6], port=SERVICE, seconds=_QUIET,
                           payload=b"hello".hex(), **{"from": (p.blocked[6], 0)}),
                       bench=True,
                       why_not=_of_members("the service that answers is outside the cgroup"))  # fmt: skip


def _far(place: Place) -> Any:
    return place.far


def _of_members(reason: str) -> Any:
    return lambda place: reason if place.member else None


def _greeted(_: Place, answer: Answer) -> str | None:
    return None if GREETING in answer.data else f"no answer came: {answer}"


def _from_service(_: Place, packet: Packet) -> bool:
    return packet.ports[0] == SERVICE


def _bare_reset(place: Place, packet: Packet) -> bool:
    """A kernel's own word on what it does not know; tier anyip cannot tell it from a closed
    socket's of the gate's (``ramnet.ruleset.anyip``)."""
    flags = packet.data[packet.at + 13] if len(packet.data) >= packet.at + 20 else 0
    return place.tier == "anyip" and packet.protocol == 6 and flags == _RST


def _stray(place: Place, version: int) -> Answer:
    packet = crafted.stray_segment(place.blocked[version], place.own[version], 40222)
    _far(place).send_raw(place.own[version], packet)
    return Answer(error="nothing")


def _ephemeral(place: Place, version: int) -> Answer:
    opened = place.inside.ask("keep", name="heard", kind=_UDP, to=place.own[version], listen=True)
    _far(place).ask(place.own[version], opened.port, b"hello", udp=True, seconds=_QUIET)
    return place.inside.ask("go on", name="heard", seconds=_QUIET)


def _talk_on(place: Place, name: str) -> Answer:
    return place.inside.ask("go on", name=name, payload=place.secret.hex(), seconds=_QUIET)


def open_old_connections(place: Place) -> None:
    """Before there are rules; ``an old … connection`` goes on with them."""
    for version, to in place.blocked.items():
        for kind in (_TCP, _UDP):
            name = f"{'tcp' if kind == _TCP else 'udp'}{version}"
            place.inside.ask("keep", name=name, kind=kind, to=to, port=7777, seconds=_QUIET,
                             payload=b"good day".hex())  # fmt: skip


def _link() -> Iterator[Probe]:
    """What a machine needs for itself goes out."""
    whole = _of_members("the rules are for a cgroup's sockets alone")
    make = _maker(promises.LINK, 4)
    for name, sent, run, leaves in (
        ("icmp error", "a datagram to a closed port of the scope",
         lambda p: Answer(_far(p).ask(p.own[4], 9, b"hi", udp=True, seconds=_QUIET)),
         lambda _, p: p.protocol == 1 and p.icmp_type == 3),
        ("igmp", "a report of a multicast group",
         lambda p: p.inside.ask("exchange", kind=_RAW, protocol=2, to="224.0.0.22", seconds=0.01,
                                payload="16000000e9fc0007"),
         lambda _, p: p.protocol == 2),
        ("dhcp", "DHCP's broadcast",
         lambda p: p.inside.ask("exchange", kind=_UDP, to="255.255.255.255", port=67,
                                broadcast=True, device=UPLINK, payload=b"discover".hex(),
                                seconds=0.01, **{"from": ("0.0.0.0", 68)}),
         lambda _, p: p.ports == (68, 67)),
    ):  # fmt: skip
        yield make(name, sent, run, may_leave=leaves, must_leave=leaves, bench=True, why_not=whole)
    make = _maker(promises.LINK, 6)
    error6 = lambda _, p: p.protocol == 58 and p.icmp_type == 1  # noqa: E731
    yield make("icmp error", "a datagram to a closed port of the scope",
               lambda p: Answer(_far(p).ask(p.own[6], 9, b"hi", udp=True, seconds=_QUIET)),
               may_leave=error6, must_leave=error6, bench=True,
               why_not=lambda p: whole(p) or (None if 6 in p.own else "no IPv6 here"))  # fmt: skip


def _maker(promise: Promise, version: int) -> Any:
    def make(name: str, sent: str, run: Run, judge: Judge = not_reached, **more: Any) -> Probe:
        return Probe(f"{name}, IPv{version}", promise, sent, run, judge, **more)

    return make
