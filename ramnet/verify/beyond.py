"""Probes that somebody beyond the wire begins, answers, or must hear of."""

from collections.abc import Callable, Iterator
from typing import Final

from ramnet.kernel.bench import UPLINK
from ramnet.ruleset import promises
from ramnet.verify import crafted
from ramnet.verify.capture import Packet
from ramnet.verify.far import Far
from ramnet.verify.inside import Answer
from ramnet.verify.probe import (
    QUIET,
    RAW,
    SERVICE,
    TCP,
    UDP,
    Place,
    Probe,
    maker,
    not_reached,
    silent,
)
from ramnet.verify.prober import GREETING

_RST: Final = 4


def of_version(version: int) -> Iterator[Probe]:
    """What somebody beyond the wire begins, or answers."""
    make = maker(promises.INBOUND, version)
    answers = _from_service
    yield make(
        "inbound tcp",
        f"a connection to port {SERVICE} of the scope",
        lambda p: Answer(_far(p).ask(p.own[version], SERVICE)),
        greeted,
        may_leave=answers,
        bench=True,
    )
    yield make(
        "inbound udp",
        f"a datagram to port {SERVICE} of the scope",
        lambda p: Answer(_far(p).ask(p.own[version], SERVICE, b"hi", udp=True)),
        greeted,
        may_leave=answers,
        bench=True,
        why_not=lambda p: (
            "this kernel cannot tell who asked first"
            if p.tier == "anyip" and p.lacks & {"ct", "ct_mark"}
            else None
        ),
    )
    make = maker(promises.OLD, version)
    yield make(
        "tcp in mid-stream",
        "a segment of a connection that nobody has",
        lambda p: _stray(p, version),
        bench=True,
        may_leave=_bare_reset,
        why_not=_of_members("a segment without a socket is nobody's"),
    )
    yield make(
        "udp to an ephemeral port",
        "a datagram to a port of the ephemeral range",
        lambda p: _ephemeral(p, version),
        silent,
        bench=True,
        why_not=lambda p: (
            _of_members("others' sockets are not restricted")(p)
            or (None if p.tier == "redirect" else f"tier {p.tier} lets it in, no answer out")
        ),
    )
    for kind in ("tcp", "udp"):
        yield make(
            f"an old {kind} connection",
            f"{kind.upper()} that was open before the rules",
            lambda p, kind=kind: _talk_on(p, f"{kind}{version}"),
            not_reached,
            bench=True,
            why_not=_of_members("it was opened before it was in the cgroup"),
        )
    if version == 6:
        make = maker(promises.OWN, version)
        yield make(
            "a refusal that goes elsewhere",
            "UDP from an address of the far end's (IPV6_FREEBIND), whose refusal quotes it",
            lambda p: p.inside.ask(
                "exchange",
                kind=UDP,
                to=p.blocked[6],
                port=443,
                seconds=QUIET,
                payload=p.secret.hex(),
                **{"from": (p.foreign[6], 0)},
            ),
            bench=True,
        )
        for kind in (TCP, UDP):
            yield make(
                f"an answer to ourselves, {kind[5:].lower()}",
                "from an address of the far end's to an own service (IPV6_FREEBIND)",
                lambda p, kind=kind: p.inside.ask(
                    "exchange",
                    kind=kind,
                    to=p.own[6],
                    port=SERVICE,
                    seconds=QUIET,
                    payload=b"hello".hex(),
                    **{"from": (p.blocked[6], 0)},
                ),
                bench=True,
                why_not=_of_members("the service that answers is outside the cgroup"),
            )


def _far(place: Place) -> Far:
    assert place.far is not None
    return place.far


def _of_members(reason: str) -> Callable[[Place], str | None]:
    return lambda place: reason if place.member else None


def greeted(_: Place, answer: Answer) -> str | None:
    """The scope's service has answered."""
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
    opened = place.inside.ask("keep", name="heard", kind=UDP, to=place.own[version], listen=True)
    _far(place).ask(place.own[version], opened.port, b"hello", udp=True, seconds=QUIET)
    return place.inside.ask("go on", name="heard", seconds=QUIET)


def _talk_on(place: Place, name: str) -> Answer:
    return place.inside.ask("go on", name=name, payload=place.secret.hex(), seconds=QUIET)


def open_old_connections(place: Place) -> None:
    """Before there are rules; ``an old … connection`` goes on with them."""
    for version, to in place.blocked.items():
        for kind in (TCP, UDP):
            name = f"{'tcp' if kind == TCP else 'udp'}{version}"
            place.inside.ask(
                "keep",
                name=name,
                kind=kind,
                to=to,
                port=7777,
                seconds=QUIET,
                payload=b"good day".hex(),
            )


def link() -> Iterator[Probe]:
    """What a machine needs for itself goes out."""
    whole = _of_members("the rules are for a cgroup's sockets alone")
    make = maker(promises.LINK, 4)
    for name, sent, run, leaves in (
        (
            "icmp error",
            "a datagram to a closed port of the scope",
            lambda p: Answer(_far(p).ask(p.own[4], 9, b"hi", udp=True, seconds=QUIET)),
            lambda _, p: p.protocol == 1 and p.icmp_type == 3,
        ),
        (
            "igmp",
            "a report of a multicast group",
            lambda p: p.inside.ask(
                "exchange",
                kind=RAW,
                protocol=2,
                to="224.0.0.22",
                seconds=0.01,
                payload="16000000e9fc0007",
            ),
            lambda _, p: p.protocol == 2,
        ),
        (
            "dhcp",
            "DHCP's broadcast",
            lambda p: p.inside.ask(
                "exchange",
                kind=UDP,
                to="255.255.255.255",
                port=67,
                broadcast=True,
                device=UPLINK,
                payload=b"discover".hex(),
                seconds=0.01,
                **{"from": ("0.0.0.0", 68)},
            ),
            lambda _, p: p.ports == (68, 67),
        ),
    ):
        yield make(name, sent, run, may_leave=leaves, must_leave=leaves, bench=True, why_not=whole)
    make = maker(promises.LINK, 6)
    error6 = lambda _, p: p.protocol == 58 and p.icmp_type == 1  # noqa: E731
    yield make(
        "icmp error",
        "a datagram to a closed port of the scope",
        lambda p: Answer(_far(p).ask(p.own[6], 9, b"hi", udp=True, seconds=QUIET)),
        may_leave=error6,
        must_leave=error6,
        bench=True,
        why_not=lambda p: whole(p) or (None if 6 in p.own else "no IPv6 here"),
    )
