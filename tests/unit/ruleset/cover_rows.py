"""Every promise of the table that covers containers, as a packet and its fate."""

from dataclasses import replace
from typing import Any

from ramnet.ruleset import SINKHOLE4, SINKHOLE6, Ports
from ramnet.ruleset.cover import HERE_MARK, INBOUND_MARK, Covered, cover_table, render_table
from ramnet.ruleset.trace import Connection, Fate, Packet
from tests.unit.ruleset.rows import (
    ACCEPTED,
    ACK,
    FAR4,
    FAR6,
    INNER4,
    INNER6,
    PROHIBITED,
    RESET,
    UNREACHABLE,
    USUAL,
)

COVER = cover_table("docker-d")
RESOLVER, PROXY = 929, 930
OWN = frozenset({"192.0.2.2", "172.17.0.1", "2001:db8:1::2"})
OTHER4, OTHER6 = "172.17.0.9", "fd00:1::9"
COVERED = Covered(frozenset({"whole0"}), frozenset({"docker0"}), frozenset({OTHER4, OTHER6}))
TABLE = render_table(COVER, USUAL, Ports(RESOLVER, PROXY), COVERED, OWN)

TO_RESOLVER = Fate("redirected", RESOLVER, mark=HERE_MARK)
TO_PROXY = Fate("redirected", PROXY, mark=HERE_MARK)
_INBOUND = Connection("established", "reply", mark=INBOUND_MARK)
_HERE = Connection("established", "reply", mark=HERE_MARK)
_REPLY = Connection("established", "reply")
_DNAT = Connection("new", dnat=True)

Row = tuple[str, Packet, Fate]
"""Name, packet, fate."""

_PLACES = {
    "far": (FAR4, FAR6),
    "own": ("192.0.2.2", "2001:db8:1::2"),
    "container": ("172.17.0.5", "fd00:1::5"),
    "sinkhole": (SINKHOLE4, SINKHOLE6),
    "group": ("224.0.0.251", "ff02::fb"),
}
_BRIDGE: dict[str, Any] = {"oif": "docker0", "ifindex": 3}


def _from(name: str, fate: Fate, to: str = "far", **packet: Any) -> list[Row]:
    """Of the covered container, by IPv4 and IPv6."""
    sources = packet.pop("sources", (INNER4, INNER6))
    given: dict[str, Any] = {"iif": "docker0", "oif": "eth0", "uid": None} | packet
    return [
        (f"{name}, {family}", Packet(address, source=source, **given), fate)
        for family, address, source in zip(("IPv4", "IPv6"), _PLACES[to], sources, strict=True)
    ]


def _to(name: str, fate: Fate, **packet: Any) -> list[Row]:
    """From afar to the covered container."""
    given: dict[str, Any] = {"iif": "eth0", "uid": None} | _BRIDGE | packet
    pairs = zip(("IPv4", "IPv6"), (INNER4, INNER6), (FAR4, FAR6), strict=True)
    return [(f"{name}, {f}", Packet(to, source=far, **given), fate) for f, to, far in pairs]


ROWS: list[Row] = [
    *_from("its DNS over UDP goes to the resolver", TO_RESOLVER, protocol="udp", dport=53),
    *_from("its DNS over TCP goes to the resolver", TO_RESOLVER, dport=53),
    *_from("to its own bridge too", TO_RESOLVER, "own", protocol="udp", dport=53, oif=None),
    *_from("and by TCP", TO_RESOLVER, "own", dport=53, oif=None),
    *_from("to another container too", TO_RESOLVER, "container", protocol="udp", dport=53,
           **_BRIDGE),
    *_from("its HTTPS goes to the proxy", TO_PROXY, dport=443),
    *_from("any TCP port goes to the proxy", TO_PROXY, dport=9418),
    *_from("from a bridge that is covered as a whole", TO_PROXY, dport=443, iif="whole0"),
    *_from("whatever its address is there", TO_PROXY, dport=443, iif="whole0",
           sources=(OTHER4, OTHER6)),
    *_from("an address that Docker does not know", TO_PROXY, dport=443,
           sources=("172.17.9.9", "fd00:1::99")),
    *_from("a refused name is answered by the gate", TO_PROXY, "sinkhole", dport=443),
    *_from("even on the port of DNS over TLS", TO_PROXY, "sinkhole", dport=853),
    *_from("its DNS over TLS is reset", RESET, dport=853),
    *_from("its QUIC is refused", UNREACHABLE, protocol="udp", dport=443),
    *_from("other UDP is refused", UNREACHABLE, protocol="udp", dport=40000),
    *_from("UDP from a whole bridge is refused", UNREACHABLE, protocol="udp", dport=443,
           iif="whole0"),
    ("its ping is refused", Packet(FAR4, "icmp", source=INNER4, iif="docker0"), PROHIBITED),
    *_from("SCTP is refused", PROHIBITED, protocol="sctp", dport=443),
    *_from("an older connection is cut", RESET, dport=443, flags=ACK),
    *_from("an answer in a connection of its own is cut", RESET, connection=_REPLY, flags=ACK),
    *_from("an answer to an inbound connection passes", replace(ACCEPTED, mark=INBOUND_MARK),
           sport=80, flags=ACK, connection=_INBOUND),
    *_from("another container's traffic is Docker's matter", ACCEPTED, dport=443,
           sources=(OTHER4, OTHER6)),
    *_from("its QUIC as well", ACCEPTED, protocol="udp", dport=443, sources=(OTHER4, OTHER6)),
    *_from("a bridge without cover", ACCEPTED, dport=443, iif="br-other"),
    *_from("to this machine it goes Docker's way", replace(ACCEPTED, mark=HERE_MARK), "own",
           dport=8080, oif=None),
    ("the answer goes by its bridge",
     Packet(INNER4, "icmp", icmp_type="echo-reply", connection=_HERE, **_BRIDGE),
     replace(ACCEPTED, mark=HERE_MARK)),
    ("and not to whose address it has borrowed",
     Packet(FAR4, "icmp", icmp_type="echo-reply", connection=_HERE),
     Fate("dropped", mark=HERE_MARK)),
    *_from("to another container it goes Docker's way", ACCEPTED, "container", dport=8080,
           **_BRIDGE),
    *_from("but not past the bridge", RESET, "container", dport=8080),
    *_from("UDP to another container", ACCEPTED, "container", protocol="udp", dport=8080,
           **_BRIDGE),
    *_from("multicast stays on the bridge", ACCEPTED, "group", protocol="udp", dport=5353,
           **_BRIDGE),
    *_from("and does not leave it", UNREACHABLE, "group", protocol="udp", dport=5353),
    *_from("TCP to a group is nobody's", ACCEPTED, "group", dport=80, **_BRIDGE),
    *_to("an inbound connection is marked as such", replace(ACCEPTED, mark=INBOUND_MARK),
         dport=80),
    *_to("one to a whole bridge too", replace(ACCEPTED, mark=INBOUND_MARK), dport=80,
         oif="whole0"),
    *_to("UDP too", replace(ACCEPTED, mark=INBOUND_MARK), protocol="udp", dport=80),
    *_to("what was there in mid-stream is not", ACCEPTED, dport=80, flags=ACK),
    *_to("the mark of another tool stays", replace(ACCEPTED, mark=7), dport=80,
         connection=Connection(mark=7)),
    ("one to another container is no matter of ours",
     Packet(OTHER4, dport=80, source=FAR4, iif="eth0", **_BRIDGE), ACCEPTED),
    ("one to another container, IPv6",
     Packet(OTHER6, dport=80, source=FAR6, iif="eth0", **_BRIDGE), ACCEPTED),
    *[(f"nobody else may use the gate's port {port}/{protocol}",
       Packet("192.0.2.2", protocol, port, oif=None, iif="eth0", source=FAR4), fate)
      for port, protocol, fate in (
          (RESOLVER, "tcp", RESET), (PROXY, "tcp", RESET), (RESOLVER, "udp", UNREACHABLE))],
    ("nor by another NAT",
     Packet("192.0.2.2", dport=PROXY, oif=None, iif="eth0", source=FAR4, connection=_DNAT), RESET),
    ("nor a covered one that names it",
     Packet("172.17.0.1", dport=PROXY, oif=None, iif="docker0", source=INNER4,
            connection=Connection("new")), replace(RESET, mark=HERE_MARK)),
    ("other ports of this machine are no matter of ours",
     Packet("192.0.2.2", dport=22, oif=None, iif="eth0", source=FAR4), ACCEPTED),
]  # fmt: skip

BEHIND = frozenset(
    {
        "iifname @whole goto guard",
        "iifname @watched ip saddr != @others4 goto guard",
        "iifname @watched ip6 saddr != @others6 goto guard",
        "counter drop",
    }
)
"""The last guard: what it would stop is refused before, so nothing shows that it is there."""
