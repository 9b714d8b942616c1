"""Every promise of the rules as a packet and its fate."""

from dataclasses import dataclass, replace
from typing import Any

from ramnet.ruleset import (
    GATE_UID,
    SINKHOLE4,
    SINKHOLE6,
    Capabilities,
    Exemption,
    GateIdentity,
    Inbound,
    Ports,
    Situation,
)
from ramnet.ruleset.redirect import CUT_MARK, LOCAL_MARK, OWN_MARK
from ramnet.ruleset.trace import Connection, Fate, Packet

RESOLVER, PROXY = 927, 928
FAR4, FAR6 = "203.0.113.7", "2001:db8:2::7"
OWN4, OWN6 = "192.0.2.2", "2001:db8:1::2"
INNER4, INNER6 = "172.17.0.2", "fd00:1::2"
BRIDGE = ("docker0", 3)
GATE_CGROUP = "unified/ramnet.gate"
CHRONY, ISCSI = 123, 3260

USUAL = Situation(
    ports=Ports(RESOLVER, PROXY),
    gate=GateIdentity(cgroup=GATE_CGROUP, cgroup_level=1),
    listening=frozenset({22, 5000, 50000}),
    inbound=frozenset({Inbound(22, FAR4, 40000), Inbound(22, FAR6, 40000)}),
    bridges=frozenset({3}),
    old_tcp=frozenset({45001, 50000}),
    old_udp=frozenset({5001}),
    containers4=frozenset({"172.17.0.0/16"}),
    containers6=frozenset({"fd00:1::/64"}),
    exemptions=(
        Exemption(uid=CHRONY, proto="udp", port=123),
        Exemption(uid=ISCSI, proto="tcp", port=3260),
        Exemption(proto="udp", port=51820, address="198.51.100.9"),
        Exemption(cgroup="unified/vpn", proto="esp"),
    ),
)
BARE = Situation(
    ports=Ports(RESOLVER, PROXY),
    capabilities=Capabilities(dynamic_sets=False, socket_cgroupv2=False),
    ephemeral=(1024, 65535),
)
"""No inbound service, no container, no cgroup2, and an ephemeral range that swallows VXLAN."""

ACCEPTED = Fate("accepted")
RESET = Fate("reset", mark=CUT_MARK)
DROPPED = Fate("dropped")
HERE = Fate("accepted", mark=LOCAL_MARK)
TO_RESOLVER = Fate("redirected", RESOLVER, mark=LOCAL_MARK)
TO_PROXY = Fate("redirected", PROXY, mark=LOCAL_MARK)
UNREACHABLE = Fate("icmp", icmp="port-unreachable", mark=CUT_MARK)
PROHIBITED = Fate("icmp", icmp="admin-prohibited", mark=CUT_MARK)

REPLY = Connection("established", "reply")
OLD = Connection("new")
ESTABLISHED = Connection("established")
REDIRECTED = Connection("established", dnat=True)
CUT = Connection("established", "reply", mark=CUT_MARK)
FREEBOUND = Connection("established", "reply", mark=LOCAL_MARK)
OWN = Connection("established", mark=OWN_MARK)
ACK = frozenset({"ack"})


@dataclass(frozen=True, slots=True)
class Row:
    """One promise; its name says which."""

    name: str
    packet: Packet
    fate: Fate
    situation: Situation = USUAL


def _both(name: str, fate: Fate, to: str = "far", **packet: Any) -> list[Row]:
    pairs = {
        "far": (FAR4, FAR6),
        "loopback": ("127.0.0.1", "::1"),
        "own": (OWN4, OWN6),
        "container": (INNER4, INNER6),
        "sinkhole": (SINKHOLE4, SINKHOLE6),
    }
    near: dict[str, Any] = {
        "loopback": {"oif": "lo", "ifindex": 1},
        "own": {"oif": "lo", "ifindex": 1},
        "sinkhole": {"oif": "lo", "ifindex": 1},
        "container": {"oif": "docker0", "ifindex": 3},
    }.get(to, {})
    return [
        Row(f"{name}, {family}", Packet(address, **(near | packet)), fate)
        for family, address in zip(("IPv4", "IPv6"), pairs[to], strict=True)
    ]


def _input(name: str, fate: Fate, situation: Situation = USUAL, **packet: Any) -> Row:
    return Row(name, Packet(OWN4, **({"oif": None, "iif": "eth0"} | packet)), fate, situation)


GATE: dict[str, Any] = {"uid": GATE_UID, "cgroup": f"1 {GATE_CGROUP}"}
_MARKED = replace(ACCEPTED, mark=OWN_MARK)

_TO_THE_GATE = [
    *_both("DNS over UDP to anywhere goes to the resolver", TO_RESOLVER, protocol="udp", dport=53),
    *_both("DNS over TCP to anywhere goes to the resolver", TO_RESOLVER, dport=53),
    *_both("DNS to a loopback resolver too", TO_RESOLVER, "loopback", protocol="udp", dport=53),
    *_both("DNS over TCP to loopback too", TO_RESOLVER, "loopback", dport=53),
    *_both("DNS to a container too", TO_RESOLVER, "container", protocol="udp", dport=53),
    *_both("HTTPS goes to the proxy", TO_PROXY, dport=443),
    *_both("any TCP port goes to the proxy", TO_PROXY, dport=9418),
    *_both("TCP of a kernel-made socket as well", TO_PROXY, dport=2049, uid=None),
    *_both("what was redirected goes on", HERE, "loopback", dport=PROXY, oif="eth0",
           connection=REDIRECTED, flags=ACK),
    *_both("what was redirected to the resolver goes on", HERE, "loopback", dport=RESOLVER,
           oif="eth0", connection=REDIRECTED, flags=ACK),
    *_both("DNS that was redirected goes on", HERE, "loopback", protocol="udp",
           dport=RESOLVER, oif="eth0", connection=REDIRECTED),
    *_both("a refused name is answered by the gate", TO_PROXY, "sinkhole", dport=443),
    *_both("even on the port of DNS over TLS", TO_PROXY, "sinkhole", dport=853),
    *_both("SYN with ECN goes to the proxy", TO_PROXY, dport=443,
           flags=frozenset({"syn", "ecn", "cwr"})),
    *_both("a client bound to the uplink reaches nobody", replace(DROPPED, mark=LOCAL_MARK),
           dport=443, bound=True),
    *_both("nor by UDP 53", replace(DROPPED, mark=LOCAL_MARK), protocol="udp",
           dport=53, bound=True),
]  # fmt: skip

_REFUSED = [
    *_both("DNS over TLS is reset", RESET, dport=853),
    *_both("DNS over TLS to a container is reset", RESET, "container", dport=853),
    *_both("QUIC is refused", UNREACHABLE, protocol="udp", dport=443),
    *_both("DNS over QUIC is refused", UNREACHABLE, protocol="udp", dport=853),
    *_both("other UDP is refused", UNREACHABLE, protocol="udp", dport=40000),
    *_both("ping is refused", PROHIBITED, protocol="icmp"),
    *_both("ping of IPv6 is refused", PROHIBITED, protocol="icmpv6"),
    *_both("SCTP is refused", PROHIBITED, protocol="sctp", dport=443),
    *_both("DCCP is refused", PROHIBITED, protocol="dccp"),
    *_both("UDP-Lite is refused", PROHIBITED, protocol="udplite", dport=53),
    *_both("IPv6 in IP is refused", PROHIBITED, protocol=41),
    *_both("ESP is refused", PROHIBITED, protocol="esp"),
    *_both("UDP to a refused name's address is refused", UNREACHABLE, "sinkhole",
           protocol="udp", dport=443),
    *_both("ping to a refused name's address is refused", PROHIBITED, "sinkhole", protocol=1),
    *_both("a process that sends VXLAN is refused", UNREACHABLE, protocol="udp", dport=4789),
    *_both("a bare DHCP port is no way out", UNREACHABLE, protocol="udp", sport=68, dport=68),
    *_both("untracked TCP is reset", Fate("reset"), dport=443, connection=None, flags=ACK),
    Row("DHCP's ports mean nothing to IPv6",
        Packet(FAR6, "udp", 67, 68), UNREACHABLE),
    Row("DHCP goes to nobody by address", Packet(FAR4, "udp", 67, 68), UNREACHABLE),
    Row("DHCPv6 goes to nobody by address", Packet(FAR6, "udp", 547, 546), UNREACHABLE),
    Row("DHCPv6's ports mean nothing to IPv4", Packet(FAR4, "udp", 547, 546), UNREACHABLE),
    Row("IGMP means nothing to IPv6", Packet(FAR6, "igmp"), PROHIBITED),
    Row("ICMPv6 means nothing to IPv4",
        Packet(FAR4, "icmpv6", icmp_type="nd-neighbor-solicit"), PROHIBITED),
    Row("ICMP means nothing to IPv6",
        Packet(FAR6, "icmp", icmp_type="time-exceeded"), PROHIBITED),
]  # fmt: skip

_BYSTANDERS = [
    *_both("a local service is reached through the gate", TO_PROXY, "loopback", dport=5000),
    *_both("at an own address as well", TO_PROXY, "own", dport=22),
    *_both("a port where nobody listens is left alone", HERE, "loopback", dport=6543),
    *_both("so is one of DNS over TLS", HERE, "own", dport=853),
    *_both("UDP on loopback passes", HERE, "loopback", protocol="udp", dport=443),
    *_both("ping to an own address passes", HERE, "own", protocol=1),
    *_both("a connection on loopback older than the rules goes on", HERE, "loopback",
           dport=5000, sport=40000, connection=OLD, flags=ACK),
    *_both("TCP to a container goes to the gate", TO_PROXY, "container", dport=80),
    *_both("UDP to a container passes", ACCEPTED, "container", protocol="udp", dport=7000),
    *_both("ping to a container passes", ACCEPTED, "container", protocol=1),
    *_both("QUIC to a container is refused", UNREACHABLE, "container", protocol="udp", dport=443),
    *_both("a container's address by the uplink is none", UNREACHABLE, "container", bound=True,
           protocol="udp", dport=7000, oif="eth0", ifindex=2),
    *_both("neither is it for SCTP", PROHIBITED, "container", bound=True,
           protocol="sctp", oif="eth0", ifindex=2),
    *_both("the far by way of a container is the far", UNREACHABLE, protocol="udp", dport=7000,
           oif="docker0", ifindex=3),
    *_both("SCTP the same way", PROHIBITED, protocol="sctp", oif="docker0", ifindex=3),
    *_both("a reply to an inbound connection passes", ACCEPTED, sport=22, dport=40000,
           flags=frozenset({"syn", "ack"}), connection=REPLY),
    *_both("a reply to inbound UDP passes", ACCEPTED, protocol="udp", sport=9, connection=REPLY),
    *_both("an echo reply passes", ACCEPTED, protocol=1, icmp_type="echo-reply",
           connection=REPLY),
    *_both("kernel-made VXLAN passes", ACCEPTED, protocol="udp", dport=4789, uid=None),
    *_both("an old inbound connection to a service goes on", ACCEPTED, sport=22, dport=40000,
           flags=ACK, connection=ESTABLISHED),
    *_both("no other from its port does", RESET, sport=22, dport=443, flags=ACK,
           connection=ESTABLISHED),
    *_both("no connection begins from its port", TO_PROXY, sport=22, dport=443),
    *_both("nor one that is answered by a SYN", RESET, sport=22, dport=443,
           flags=frozenset({"syn", "ack"})),
    Row("IGMP passes", Packet("224.0.0.22", "igmp"), ACCEPTED),
    Row("DHCP passes", Packet("255.255.255.255", "udp", 67, 68), ACCEPTED),
    Row("DHCPv6 passes", Packet("ff02::1:2", "udp", 547, 546), ACCEPTED),
    *(Row(f"ICMP {kind} passes", Packet(FAR4, "icmp", icmp_type=kind, uid=None), ACCEPTED)
      for kind in ("destination-unreachable", "time-exceeded", "parameter-problem")),
    *(Row(f"ICMPv6 {kind} passes", Packet(FAR6, "icmpv6", icmp_type=kind, uid=None), ACCEPTED)
      for kind in ("destination-unreachable", "packet-too-big", "time-exceeded",
                   "parameter-problem", "nd-router-solicit", "nd-neighbor-solicit",
                   "nd-neighbor-advert", "mld-listener-report", "mld2-listener-report")),
]  # fmt: skip

_PUBLISHED = [
    *(Row(f"the first SYN to a port published by NAT teaches the set, {family}",
          Packet(own, dport=8080, oif="lo", ifindex=1, dnat=inner, rerouted=BRIDGE),
          replace(DROPPED, mark=LOCAL_MARK, learned=frozenset({"published"})))
      for family, own, inner in (("IPv4", OWN4, INNER4), ("IPv6", OWN6, INNER6))),
    *(Row(f"UDP to a port published by NAT passes, {family}",
          Packet(own, "udp", 8080, oif="lo", ifindex=1, dnat=inner, rerouted=BRIDGE), HERE)
      for family, own, inner in (("IPv4", OWN4, INNER4), ("IPv6", OWN6, INNER6))),
    *(Row(f"NAT of others leads nowhere else, {family}",
          Packet(own, dport=8080, oif="lo", ifindex=1, dnat=far),
          replace(RESET, mark=LOCAL_MARK))
      for family, own, far in (("IPv4", OWN4, FAR4), ("IPv6", OWN6, FAR6))),
    *(Row(f"a container's address that NAT gave leaves by no uplink, {family}",
          Packet(own, "udp", 8080, bound=True, dnat=inner),
          replace(DROPPED, mark=LOCAL_MARK))
      for family, own, inner in (("IPv4", OWN4, INNER4), ("IPv6", OWN6, INNER6))),
    Row("the gate's port elsewhere is not the gate",
        Packet(FAR4, dport=PROXY, connection=REDIRECTED, flags=ACK),
        replace(RESET, mark=LOCAL_MARK)),
]  # fmt: skip

_NO_LOOPS = [
    *_both("the gate never asks itself by UDP", UNREACHABLE, "loopback", protocol="udp",
           dport=RESOLVER, connection=REDIRECTED, **GATE),
    *_both("nor by TCP", RESET, "loopback", dport=PROXY, connection=REDIRECTED, **GATE),
]  # fmt: skip

_OURSELVES = [
    *_both("the gate dials where it wants", _MARKED, dport=443, **GATE),
    *_both("and asks its upstreams", _MARKED, protocol="udp", dport=53, **GATE),
    *_both("the gate's uid alone is nobody", TO_PROXY, dport=443, uid=GATE_UID),
    *_both("the gate's cgroup alone is nobody", TO_PROXY, dport=443, cgroup=GATE["cgroup"]),
    *_both("the gate dials a container that another's NAT gave", _MARKED, "container",
           dport=80, connection=REDIRECTED, **GATE),
    *_both("with an invalid packet as well", ACCEPTED, dport=443, connection=None, **GATE),
    *_both("a connection of the gate's goes on after close", _MARKED, dport=443, uid=None,
           flags=ACK, connection=OWN),
    *_both("but not for another's socket", replace(RESET, mark=OWN_MARK), dport=443,
           flags=ACK, connection=OWN),
    *_both("the gate's answer marks no client's connection", ACCEPTED, dport=40000, flags=ACK,
           connection=REPLY, **GATE),
    *_NO_LOOPS,
    *_both("but answers itself if it must", ACCEPTED, "loopback", dport=PROXY, flags=ACK,
           connection=Connection("established", "reply", dnat=True), **GATE),
    *_both("a mark of another tool stays", replace(ACCEPTED, mark=7), dport=443,
           connection=Connection(mark=7), **GATE),
    *_both("an exempted user passes", _MARKED, protocol="udp", dport=123, uid=CHRONY),
    *_both("to its port only", UNREACHABLE, protocol="udp", dport=124, uid=CHRONY),
    *_both("nobody else does", UNREACHABLE, protocol="udp", dport=123),
    *_both("an exempted user passes by the gate", _MARKED, dport=3260, uid=ISCSI),
    *_both("but not to other ports", TO_PROXY, dport=3261, uid=ISCSI),
    *_both("an exempted cgroup passes", _MARKED, protocol="esp", cgroup="1 unified/vpn"),
    Row("an exempted address passes", Packet("198.51.100.9", "udp", 51820), ACCEPTED),
]  # fmt: skip

_OLD = [
    *_both("an old connection is reset when it sends", RESET, dport=443, flags=ACK),
    *_both("one that was tracked before too", RESET, dport=443, flags=ACK, connection=ESTABLISHED),
    *_both("an old exchange over UDP is refused", UNREACHABLE, protocol="udp", dport=443,
           connection=ESTABLISHED),
    *_both("what answers a connection cut is reset", replace(RESET, mark=CUT_MARK), dport=443,
           flags=ACK, connection=CUT),
    *_both("the reset itself arrives", replace(ACCEPTED, mark=CUT_MARK), "own", dport=443,
           flags=frozenset({"rst"}), uid=None, connection=CUT),
    *_both("an old connection that counts as inbound is reset", RESET, sport=45001, flags=ACK,
           connection=REPLY),
    *_both("unless somebody listens there by now", ACCEPTED, sport=50000, connection=REPLY),
    *_both("an old exchange that counts as inbound is refused", UNREACHABLE, protocol="udp",
           sport=5001, connection=REPLY),
    *_both("the answer to what this machine opened to itself stays here",
           replace(RESET, mark=LOCAL_MARK), sport=22, connection=FREEBOUND),
    *_both("over UDP too", replace(UNREACHABLE, mark=LOCAL_MARK), protocol="udp", sport=7,
           connection=FREEBOUND),
    *_both("and there it arrives", HERE, "own", sport=22, connection=FREEBOUND),
    *_both("on loopback it goes on", ACCEPTED, "loopback", sport=45001, flags=ACK,
           connection=REPLY),
    *_both("over UDP as well", ACCEPTED, "loopback", protocol="udp", sport=5001,
           connection=REPLY),
    _input("a running download is marked", replace(ACCEPTED, mark=CUT_MARK), flags=ACK,
           dport=40000),
    _input("a connection to a service is not", ACCEPTED, flags=ACK, dport=22),
    _input("a new connection is not", ACCEPTED, dport=40000),
    _input("a known connection is not", ACCEPTED, dport=40000, flags=ACK, connection=ESTABLISHED),
    _input("the next packet of an old exchange is dropped", DROPPED, protocol="udp", dport=40000),
    _input("an answer to the gate is not", ACCEPTED, protocol="udp", dport=40000,
           connection=REPLY),
    _input("UDP to a service passes", ACCEPTED, protocol="udp", dport=5353),
    _input("UDP of a container to a high port passes", ACCEPTED, protocol="udp", dport=40000,
           iif="docker0", ifindex=3),
    _input("loopback is left alone", ACCEPTED, flags=ACK, dport=40000, iif="lo", ifindex=1),
    _input("UDP to an exempted port passes", ACCEPTED, protocol="udp", dport=51820),
    *(_input(f"UDP {port} is the kernel's own or DHCP's in any range", ACCEPTED, BARE,
             protocol="udp", dport=port) for port in (68, 546, 4789)),
    _input("other UDP of a wide range is dropped", DROPPED, BARE, protocol="udp", dport=8472),
    _input("with no service every stream is marked", replace(ACCEPTED, mark=CUT_MARK), BARE,
           flags=ACK, dport=22),
]  # fmt: skip

_GUARD = [
    *_both("loopback by a real interface is dropped", DROPPED, "loopback", oif="eth0", ifindex=2,
           protocol="udp", dport=9, connection=REPLY),
    *_both("a sinkhole by a real interface is dropped", DROPPED, "sinkhole", oif="eth0",
           ifindex=2, protocol="udp", dport=9, connection=REPLY),
]  # fmt: skip

_BARE = [
    *(replace(row, name=f"{row.name}, by uid alone", situation=BARE) for row in _NO_LOOPS),
    Row("without cgroup2 the gate is its uid",
        Packet(FAR4, dport=443, uid=GATE_UID), _MARKED, BARE),
    Row("without dynamic sets a port published by NAT stays shut",
        Packet(OWN4, dport=8080, oif="lo", ifindex=1, dnat=INNER4),
        replace(RESET, mark=LOCAL_MARK), BARE),
]  # fmt: skip

ROWS = [
    *_TO_THE_GATE, *_REFUSED, *_BYSTANDERS, *_PUBLISHED, *_OURSELVES, *_OLD, *_GUARD, *_BARE,
]  # fmt: skip
