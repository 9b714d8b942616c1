"""What a captured frame says, as far as the lab's questions go; scapy for all the rest.

The readers here are the lab's own and not ramnet's, so that one cannot hide the other's faults.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import dns.exception
import dns.message

if TYPE_CHECKING:
    from scapy.packet import Packet as ScapyPacket

_PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 47: "gre"}
_EXTENSION_HEADERS = {0, 43, 44, 60}  # hop-by-hop, routing, fragment, destination (RFC 8200)
_ETHERTYPES = {0x0806: "arp", 0x86DD: "ipv6", 0x0800: "ipv4"}
_TCP_FLAGS = "FSRPAU"


@dataclass(frozen=True)
class Packet:
    """One frame from the wire.

    Attributes:
        time: seconds of the monotonic clock, when the capture read it.
        sent_by_vm: False when inet sent it.
        data: the frame from its Ethernet header on.
    """

    time: float
    sent_by_vm: bool
    data: bytes

    @cached_property
    def ethertype(self) -> str:
        number = int.from_bytes(self.data[12:14], "big")
        return _ETHERTYPES.get(number, hex(number))

    @cached_property
    def _network(self) -> tuple[str, str, int, int]:
        """Source, destination, protocol number, offset of what the protocol carries."""
        data = self.data
        if self.ethertype == "ipv4" and len(data) >= 34:
            header = (data[14] & 0xF) * 4
            return _address(data[26:30]), _address(data[30:34]), data[23], 14 + header
        if self.ethertype == "ipv6" and len(data) >= 54:
            protocol, at = data[20], 54
            while protocol in _EXTENSION_HEADERS and len(data) >= at + 8:
                size = 8 if protocol == 44 else (data[at + 1] + 1) * 8
                protocol, at = data[at], at + size
            return _address(data[22:38]), _address(data[38:54]), protocol, at
        return "", "", -1, len(data)

    @property
    def source(self) -> str:
        """The source address, "" for what is not IP."""
        return self._network[0]

    @property
    def destination(self) -> str:
        return self._network[1]

    @property
    def protocol(self) -> str:
        """tcp, udp, icmp, icmpv6, igmp, ..., a number, or for what is not IP its ethertype."""
        number = self._network[2]
        return self.ethertype if number < 0 else _PROTOCOLS.get(number, str(number))

    @cached_property
    def ports(self) -> tuple[int, int]:
        """Source and destination port, (0, 0) where the protocol has none."""
        at = self._network[3]
        if self.protocol not in ("tcp", "udp", "sctp") or len(self.data) < at + 4:
            return 0, 0
        source, destination = struct.unpack_from("!HH", self.data, at)
        return source, destination

    @property
    def icmp_type(self) -> int | None:
        at = self._network[3]
        is_icmp = self.protocol in ("icmp", "icmpv6") and len(self.data) > at
        return self.data[at] if is_icmp else None

    @property
    def tcp_flags(self) -> str:
        """The flags that are set, of FSRPAU."""
        at = self._network[3] + 13
        if self.protocol != "tcp" or len(self.data) <= at:
            return ""
        return "".join(flag for bit, flag in enumerate(_TCP_FLAGS) if self.data[at] >> bit & 1)

    @property
    def is_bare_reset(self) -> bool:
        """Whether it is the RST alone, without data, by which a kernel answers a segment for a
        connection that no process has (RFC 9293, 3.10.7.1). One that a process begins has the ACK
        flag too."""
        return self.tcp_flags == "R" and not self.payload

    @cached_property
    def payload(self) -> bytes:
        """What TCP or UDP carries."""
        at = self._network[3]
        if self.protocol == "udp":
            length = int.from_bytes(self.data[at + 4 : at + 6], "big")
            return self.data[at + 8 : at + max(length, 8)]
        if self.protocol == "tcp" and len(self.data) >= at + 20:
            return self.data[at + (self.data[at + 12] >> 4) * 4 : self._end]
        return b""

    @property
    def _end(self) -> int:
        """Where the IP packet ends: short frames are padded."""
        at, header = (16, 0) if self.ethertype == "ipv4" else (18, 40)
        length = int.from_bytes(self.data[at : at + 2], "big")
        return 14 + header + length if length else len(self.data)  # 0: larger than 64 KiB

    @cached_property
    def dns_name(self) -> str | None:
        """The name asked for, when it is a DNS question in one UDP datagram or TCP segment."""
        message = self.payload if self.protocol == "udp" else self.payload[2:]
        if 53 not in self.ports or not message:
            return None
        try:
            question = dns.message.from_wire(message, ignore_trailing=True).question
        except (dns.exception.DNSException, ValueError):
            return None
        return str(question[0].name).rstrip(".").lower() if question else None

    @cached_property
    def server_name(self) -> str | None:
        """The SNI, when a segment begins with a ClientHello that holds it (RFC 8446, RFC 6066)."""
        hello = self.payload
        if self.protocol != "tcp" or hello[:1] != b"\x16" or hello[5:6] != b"\x01":
            return None
        try:
            at = 9 + 34  # handshake header, version, random
            at += 1 + hello[at]  # session id
            at += 2 + int.from_bytes(hello[at : at + 2], "big")  # cipher suites
            at += 3 + hello[at]  # compression methods, length of the extensions
            while at + 4 <= len(hello):
                kind, size = struct.unpack_from("!HH", hello, at)
                if kind == 0:
                    length = int.from_bytes(hello[at + 7 : at + 9], "big")
                    return hello[at + 9 : at + 9 + length].decode("ascii", "replace").lower()
                at += 4 + size
        except (IndexError, struct.error):
            pass
        return None

    def mentions(self, name: str) -> bool:
        """Whether the name stands anywhere in it, as text or as DNS labels, in any case."""
        data = self.data.lower()
        text = name.lower().encode()
        labels = b"".join(bytes([len(label)]) + label for label in text.split(b"."))
        return text in data or labels in data

    @property
    def scapy(self) -> ScapyPacket:
        """The frame as scapy reads it."""
        from scapy.layers import dns, inet, inet6  # noqa: F401  # slow to import, seldom needed
        from scapy.layers.l2 import Ether

        return Ether(self.data)

    def __str__(self) -> str:
        source, destination = self.ports
        arrow = "->" if self.sent_by_vm else "<-"
        ends = f"{self.source} {arrow} {self.destination}" if self.source else arrow
        if destination:
            ends = f"{self.source}.{source} {arrow} {self.destination}.{destination}"
        said = self.dns_name or self.server_name or self.tcp_flags or ""
        if self.icmp_type is not None:
            said = f"type {self.icmp_type}"
        return f"{self.protocol} {ends} {said} {len(self.data)} bytes"


def _address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))
