"""Every promise as something to try; see the package's docstring for what is tried where."""

import ipaddress
import struct
from collections.abc import Iterator
from typing import Any, Final

from ramnet.ruleset import GATE_UID, SINKHOLE4, SINKHOLE6, promises
from ramnet.verify import beyond, crafted
from ramnet.verify.capture import Packet
from ramnet.verify.inside import Answer
from ramnet.verify.probe import (
    QUIET,
    RAW,
    SERVICE,
    TCP,
    UDP,
    Place,
    Probe,
    Run,
    maker,
    not_reached,
    reached,
    refused,
    refused_as,
    said,
)

CLOSED_PORT: Final = 8098
_SINKHOLES: Final = {4: SINKHOLE4, 6: SINKHOLE6}
_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}
_WITHOUT_CGROUP: Final = "this kernel tells the gate by its uid alone (caveat kernel-capabilities)"
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
        yield from beyond.of_version(version)
    yield from beyond.link()


_NOBODYS: Final = b"\x00ramnet verify\r\n"
"""Of no protocol that tells a name."""


def _tcp(to: str, port: int, payload: bytes = _NOBODYS, **more: Any) -> Run:
    return lambda place: place.inside.ask(
        "exchange", kind=TCP, to=to, port=port, payload=payload.hex(), **more
    )


def _udp(to: str, port: int, payload: bytes, **more: Any) -> Run:
    return lambda place: place.inside.ask(
        "exchange", kind=UDP, to=to, port=port, payload=payload.hex(), **{"seconds": 1.0, **more}
    )


def _dns(place: Place, version: int) -> Iterator[Probe]:
    """To a resolver that nobody configured, about a name that is refused."""
    question, to = crafted.question(place.blocked_name), place.foreign[version]
    framed = struct.pack("!H", len(question)) + question
    answered = _dns_answered if version in place.decided else refused
    sent = f"A {place.blocked_name} to {to}"
    make = maker(promises.DNS, version)
    yield make("dns udp", f"{sent}, UDP", _udp(to, 53, question), answered, bare=True)
    yield make("dns tcp", f"{sent}, TCP", _tcp(to, 53, framed), answered, bare=True)
    for name, odd in crafted.odd_questions(place.blocked_name):
        run = _udp(to, 53, odd, seconds=QUIET)
        yield make(f"dns udp, {name}", f"{name} to {to}", run, not_reached, bare=True)
    short = framed[:9]
    yield make(
        "dns tcp, cut short",
        f"9 bytes to {to}",
        _tcp(to, 53, short, seconds=QUIET),
        not_reached,
        bare=True,
    )
    yield make(
        "dns over tls", f"TCP to {to} port 853", _tcp(to, 853), refused_as(*_REFUSED_UDP), bare=True
    )
    yield make(
        "dns over quic",
        f"UDP to {to} port 853",
        _udp(to, 853, crafted.quic_initial()),
        refused_as(*_REFUSED_UDP),
        bare=True,
    )
    hello = crafted.client_hello(None)
    yield make(
        "dns over https, by address",
        f"TLS to {to} without a name",
        _tcp(to, 443, hello),
        refused,
        bare=True,
    )
    if version == 4:
        loopback = _udp("127.0.0.1", 53, question)
        yield make("dns to loopback", f"{place.blocked_name} to 127.0.0.1", loopback, answered)
        loopback = _tcp("127.0.0.1", 53, framed)
        yield make(
            "dns to loopback, tcp", f"{place.blocked_name} to 127.0.0.1, TCP", loopback, answered
        )


def _dns_answered(_: Place, answer: Answer) -> str | None:
    """By the gate: a refusal, be it the sinkhole's address or an error."""
    sinkhole = ipaddress.ip_address(SINKHOLE4).packed
    reply = answer.data[2:] if answer.data[2:4] == b"ra" else answer.data
    if reply[:2] == b"ra" and (sinkhole in reply or reply[3] & 15 in (3, 5)):
        return None
    return f"the policy did not answer: {answer}"


def _closed(place: Place, version: int) -> Iterator[Probe]:
    to, make = place.blocked[version], maker(promises.CLOSED, version)
    for port in (22, 443, 5000, 8443):
        yield make(f"tcp {port}", f"TCP to {to} port {port}", _tcp(to, port), refused, bare=True)
    for port in (80, 123, 4789, 51820):
        yield make(
            f"udp {port}",
            f"UDP to {to} port {port}",
            _udp(to, port, place.secret),
            refused_as(*_REFUSED_UDP),
            bare=True,
        )
    yield make(
        "quic",
        f"a QUIC Initial to {to}",
        _udp(to, 443, crafted.quic_initial()),
        refused_as(*_REFUSED_UDP),
        bare=True,
    )
    number, head = _PING[version]
    for name, protocol, payload in (("ping", number, head + bytes(4)), ("gre", 47, bytes(8))):
        yield make(
            name,
            f"{name} to {to}",
            _protocol(to, protocol, payload),
            refused_as(*_REFUSED_OTHER),
            bare=True,
        )


def _protocol(to: str, protocol: int, payload: bytes) -> Run:
    return lambda place: place.inside.ask(
        "exchange", kind=RAW, to=to, protocol=protocol, payload=payload.hex(), seconds=1.0
    )


def _names(place: Place, version: int) -> Iterator[Probe]:
    """What decides is the name in the connection itself."""
    name, to = place.blocked_name, place.blocked[version]
    make = maker(promises.PULL, version)
    says = said if version in place.decided else refused
    http = f"GET /v2/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
    until = {"until": [b"disallowed".hex()]}
    yield make(
        "http, refused name",
        f"GET from {to}, Host {name}",
        _tcp(to, 80, http, **until),
        says,
        bare=True,
    )
    sinkhole = _SINKHOLES[version]
    yield make(
        "http, sinkhole",
        f"GET from {sinkhole}, Host {name}",
        _tcp(sinkhole, 80, http, **until),
        says,
    )
    hello = crafted.client_hello(name)
    yield make(
        "tls, refused name", f"TLS to {to}, SNI {name}", _tcp(to, 443, hello), refused, bare=True
    )
    if not place.allowed:
        return
    good, allowed = place.allowed_name, place.allowed[version]
    make = maker(promises.NO_WAY_ROUND, version)
    lying = http.replace(name.encode(), good.encode())
    # An allowed name at another's address is dialled where the name is.
    yield make(
        "http, allowed name at another address",
        f"GET from {to}, Host {good}",
        _tcp(to, 80, lying),
        not_reached if version not in place.decided else reached,
        may_leave=_to_allowed,
        bench=True,
    )
    two = http.replace(b"\r\n\r\n", f"\r\nHost: {good}\r\n\r\n".encode())
    yield make(
        "http, two Hosts",
        f"GET from {allowed}, Host {name} and {good}",
        _tcp(allowed, 80, two),
        not_reached,
        bench=True,
    )
    absolute = lying.replace(b"GET /v2/", f"GET http://{name}/v2/".encode())
    yield make(
        "http, target against Host",
        f"GET http://{name}/ with Host {good}",
        _tcp(allowed, 80, absolute),
        not_reached,
        bench=True,
    )
    yield make(
        "tls, refused name at an allowed address",
        f"TLS to {allowed}, SNI {name}",
        _tcp(allowed, 443, hello),
        not_reached,
        bench=True,
    )
    if version in place.decided:
        make = maker(promises.PULL, version)
        for what, port, payload in (("http", 80, lying), ("tls", 443, crafted.client_hello(good))):
            yield make(
                f"{what}, allowed name",
                f"{what.upper()} to {allowed}, {good}",
                _tcp(allowed, port, payload),
                reached,
                may_leave=_to_allowed,
                bench=True,
            )


def _to_allowed(place: Place, packet: Packet) -> bool:
    """The gate's own question and connection."""
    return packet.ports[1] == 53 or packet.destination in place.allowed.values()


def _around(place: Place, version: int) -> Iterator[Probe]:
    name, to = place.blocked_name, place.blocked[version]
    make = maker(promises.NO_WAY_ROUND, version)
    connect = f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n".encode()
    by_address = f"CONNECT {_bracketed(to)}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    socks4 = b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00" + name.encode() + b"\x00"
    proxies = {"far": to, "near": _LOOPBACK[version]}
    for where, proxy in proxies.items():
        port = 3128 if where == "far" else place.explicit
        if port is None or (where == "near" and version == 6):
            continue
        for what, payload in (
            ("CONNECT", connect),
            ("CONNECT by address", by_address),
            ("SOCKS 4a", socks4),
        ):
            yield make(
                f"{what}, proxy {where}",
                f"{what} {name} to {proxy} port {port}",
                _tcp(proxy, port, payload),
                refused,
                bare=where == "far",
            )
    yield make(
        "SOCKS 5, proxy far",
        f"SOCKS 5 greeting to {to} port 1080",
        _tcp(to, 1080, b"\x05\x01\x00"),
        not_reached,
        bare=True,
    )
    make = maker(promises.OWN, version)
    for kind, run in (
        ("udp", _udp(to, 443, place.secret, uid=GATE_UID)),
        ("tcp", _tcp(to, 8443, uid=GATE_UID)),
    ):
        yield make(
            f"{kind} with the gate's uid",
            f"{kind.upper()} to {to} as uid {GATE_UID}",
            run,
            refused,
            bare=True,
            why_not=lambda p: (
                _WITHOUT_CGROUP if "socket_cgroupv2" in p.lacks and not p.member else None
            ),
        )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _guard(place: Place, version: int) -> Iterator[Probe]:
    """By sockets bound to the uplink, which no redirect takes off it."""
    make, sinkhole = maker(promises.GUARD, version), _SINKHOLES[version]
    to = place.blocked[version]
    device: dict[str, Any] = {"device": place.device, "seconds": QUIET}
    question = crafted.question(place.blocked_name)
    sent = f"bound to {place.device}"
    yield make(
        "tcp, bound to the uplink",
        f"TCP to {to}, {sent}",
        _tcp(to, 443, **device),
        not_reached,
        bare=True,
    )
    yield make(
        "dns, bound to the uplink",
        f"DNS to {place.foreign[version]}, {sent}",
        _udp(place.foreign[version], 53, question, **device),
        not_reached,
        bare=True,
    )
    yield make(
        "udp to the sinkhole", f"UDP to {sinkhole}", _udp(sinkhole, 443, place.secret), refused
    )
    yield make(
        "udp to the sinkhole, bound",
        f"UDP to {sinkhole}, {sent}",
        _udp(sinkhole, 443, place.secret, **device),
        not_reached,
    )


def _near(_: Place, version: int) -> Iterator[Probe]:
    make, loopback = maker(promises.NEAR, version), _LOOPBACK[version]
    sent = f"to a service on {loopback}"
    yield make(
        "tcp to loopback",
        f"TCP {sent}",
        _tcp(loopback, SERVICE, b"", seconds=8.0),
        beyond.greeted,
        bench=True,
    )
    yield make(
        "udp to loopback",
        f"UDP {sent}",
        _udp(loopback, SERVICE, b"hello"),
        beyond.greeted,
        bench=True,
    )
    yield make(
        "a closed port of loopback",
        f"TCP to {loopback} port {CLOSED_PORT}",
        _tcp(loopback, CLOSED_PORT, b""),
        refused_as(*_REFUSED_UDP),
    )


def _crafted(place: Place, version: int) -> Iterator[Probe]:
    source, to = place.own[version], place.blocked[version]
    make = maker(promises.CLOSED, version)
    packets = crafted.raw4 if version == 4 else crafted.raw6
    for each in packets(source, to, place.secret):
        for nodefrag in (False, True)[: 2 if "fragment" in each.name and version == 4 else 1]:
            name = f"raw, {each.name}{', unassembled' if nodefrag else ''}"
            hexed = [packet.hex() for packet in each.packets]
            run: Run = lambda p, hexed=hexed, nodefrag=nodefrag: p.inside.ask(  # type: ignore[misc]  # noqa: E731
                "raw", to=to, packets=hexed, nodefrag=nodefrag
            )
            yield make(name, f"{each.name} to {to}", run, bare=True)
