"""A packet capture on the vm's uplink, read at inet's end of the wire.

Frames are taken by an AF_PACKET socket (packet(7)) that a thread empties. The socket is opened
before `Capture` returns, so nothing sent later is missed, and the kernel's drop counter is
checked, so a capture that lost frames is an error and never an empty list.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from tests.lab.addresses import INET_UPLINK, VM_UPLINK, Site
from tests.lab.host import Host
from tests.lab.packet import Packet
from tests.lab.processes import LabError

_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33
_BUFFER = 256 * 1024 * 1024
_MARKER = b"\x00" * 12 + b"\x88\xb5" + b"ramnet lab marker "  # 0x88b5: IEEE's local experiments

#: Housekeeping of the link and of IPv6 that any host sends: ARP, neighbour discovery, MLD.
_HOUSEKEEPING_ICMPV6 = {130, 131, 132, 133, 134, 135, 136, 143}


class Packets(tuple[Packet, ...]):
    """Captured packets with the questions that tests ask of them. Each filter returns Packets."""

    __slots__ = ()

    def where(self, wanted: Callable[[Packet], bool]) -> Packets:
        return Packets(packet for packet in self if wanted(packet))

    def since(self, number: int) -> Packets:
        """All but the first `number`."""
        return Packets(self[number:])

    def sent_by_vm(self) -> Packets:
        return self.where(lambda packet: packet.sent_by_vm)

    def sent_by_inet(self) -> Packets:
        return self.where(lambda packet: not packet.sent_by_vm)

    def to(self, *addresses: str) -> Packets:
        return self.where(lambda packet: packet.destination in addresses)

    def to_site(self, *sites: Site) -> Packets:
        return self.to(*(address for site in sites for address in site.addresses))

    def protocol(self, *names: str) -> Packets:
        return self.where(lambda packet: packet.protocol in names)

    def port(self, *numbers: int) -> Packets:
        """Those with one of these destination ports."""
        return self.where(lambda packet: packet.ports[1] in numbers)

    def mentioning(self, name: str) -> Packets:
        return self.where(lambda packet: packet.mentions(name))

    def about(self, site: Site) -> Packets:
        """Those to a site's addresses and those that mention its name (DNS, SNI, Host, CONNECT).

        All but bare resets: the lab outlives its tests, and the kernel so answers what a site
        still sends for a connection of an earlier one.
        """
        return self.where(
            lambda packet: (
                not packet.is_bare_reset
                and (packet.destination in site.addresses or packet.mentions(site.name))
            )
        )

    def without_housekeeping(self) -> Packets:
        """All but ARP, neighbour discovery and multicast listener reports."""
        return self.where(
            lambda packet: packet.protocol != "arp" and packet.icmp_type not in _HOUSEKEEPING_ICMPV6
        )

    def forbidden(self, allowed: Iterable[Site], ports: Iterable[int] = (53, 80, 443)) -> Packets:
        """What the vm sent that is no housekeeping and goes to none of `allowed` on `ports`."""
        addresses = {address for site in allowed for address in site.addresses}
        ports = set(ports)
        return self.sent_by_vm().without_housekeeping().where(
            lambda packet: packet.destination not in addresses or packet.ports[1] not in ports
        )  # fmt: skip

    @property
    def dns_names(self) -> set[str]:
        return {packet.dns_name for packet in self if packet.dns_name}

    @property
    def server_names(self) -> set[str]:
        return {packet.server_name for packet in self if packet.server_name}

    def __str__(self) -> str:
        """One line for each packet, for a failing test to show."""
        return "\n".join(map(str, self)) or "no packets"

    __repr__ = __str__


class Capture:
    """Everything that crosses the wire from its making to its closing."""

    def __init__(self, vm: Host, inet: Host) -> None:
        self._vm = vm
        self._packets: list[Packet] = []
        self._marks: set[bytes] = set()
        self._arrived = threading.Condition()
        self._stopping = False
        self._socket = inet.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.bind((INET_UPLINK, _ETH_P_ALL))
        self._sender = vm.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._sender.bind((VM_UPLINK, 0))
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stopping:
            data, address = self._socket.recvfrom(1 << 17)
            now = time.monotonic()
            if data.startswith(_MARKER):
                with self._arrived:
                    self._marks.add(data)
                    self._arrived.notify_all()
            else:
                self._packets.append(Packet(now, address[2] != _PACKET_OUTGOING, data))

    def settle(self, seconds: float = 10) -> Packets:
        """Return all packets so far: everything sent before this call is among them.

        A veth hands a frame to its peer through a queue of the CPU that sends, so one marker
        goes out from each CPU; raw frames pass no netfilter hook.
        """
        wanted: set[bytes] = set()
        before = os.sched_getaffinity(0)
        try:
            for cpu in before:
                os.sched_setaffinity(0, {cpu})
                marker = _MARKER + struct.pack("!IQ", cpu, time.monotonic_ns())
                self._sender.send(marker)
                wanted.add(marker)
        finally:
            os.sched_setaffinity(0, before)
        with self._arrived:
            if not self._arrived.wait_for(lambda: wanted <= self._marks, seconds):
                raise LabError("the capture does not see its own markers")
            self._marks -= wanted
        self._check_complete()
        return Packets(self._packets)

    def _check_complete(self) -> None:
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        if dropped := struct.unpack("@II", statistics)[1]:
            raise LabError(f"the capture lost {dropped} frames")

    def clear(self) -> None:
        """Forget what was seen so far."""
        self.settle()
        self._packets.clear()

    def close(self) -> None:
        """Stop; a last marker wakes the thread."""
        self._stopping = True
        self._sender.send(_MARKER + b"stop")
        self._thread.join(10)
        self._socket.close()
        self._sender.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Packet]:
        return iter(self.settle())
