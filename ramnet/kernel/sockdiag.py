"""Which ports local sockets have, asked of the kernel by sock_diag(7).

Of listening sockets only their own hash is walked, so the cost does not grow with connections;
that is why this asks by itself, four times a second, what a general library takes milliseconds
for.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from ramnet.errors import KernelRefusedError

if TYPE_CHECKING:
    from ramnet.ruleset import Inbound

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_TCP_LISTEN: Final = 1 << 10
_TCP_SYN_SENT: Final = 1 << 2
_TCP_CONNECTED: Final = sum(1 << state for state in (1, 2, 4, 5, 8, 9, 11))
"""ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING."""
_UDP_CONNECTED: Final = 1 << 1
_UDP_UNCONNECTED: Final = 1 << 7
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI48x")
_BUFFER_BYTES: Final = 1 << 16


class _Socket(NamedTuple):
    """One socket of TCP; IPv4-mapped addresses as IPv4."""

    address: str
    port: int
    far: str
    far_port: int


def _address(family: int, packed: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(family, packed[:4])
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


class ListeningPorts:
    """An open question to sock_diag in the network namespace of the thread that made it."""

    def __init__(self) -> None:
        """Open the netlink socket; it stays in this thread's network namespace."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._socket.settimeout(2)

    def read(self) -> frozenset[int]:
        """Every TCP port that some socket listens on, IPv4 and IPv6.

        Raises:
            KernelRefusedError: sock_diag for TCP is not in this kernel.
        """
        return self._all(socket.IPPROTO_TCP, _TCP_LISTEN)

    def read_connected(self) -> tuple[frozenset[int], frozenset[int]]:
        """Local ports of connections that no service here accepted: TCP, UDP.

        A UDP port that has an unconnected socket as well is a service with one socket a client.
        Without sock_diag for UDP there are none.
        """
        tcp = self._all(socket.IPPROTO_TCP, _TCP_CONNECTED) - self.read()
        try:
            udp = self._all(socket.IPPROTO_UDP, _UDP_CONNECTED)
            return tcp, udp - self._all(socket.IPPROTO_UDP, _UDP_UNCONNECTED)
        except KernelRefusedError:
            return tcp, frozenset()

    def read_inbound(self) -> frozenset[Inbound]:
        """Connections of TCP to local services: to a port and address that somebody listens on.

        Those on loopback are left out.
        """
        from ramnet.ruleset import Inbound  # `hold` loads this module and must not wait

        states = _TCP_CONNECTED & ~_TCP_SYN_SENT
        listening = {(s.port, s.address) for s in self._sockets(_TCP_LISTEN)}
        return frozenset(
            Inbound(s.port, s.far, s.far_port)
            for s in self._sockets(states)
            if not ipaddress.ip_address(s.far).is_loopback
            and any((s.port, at) in listening for at in (s.address, "0.0.0.0", "::"))
        )

    def _sockets(self, states: int) -> Iterator[_Socket]:
        for family in _FAMILIES:
            for data in self._messages(family, socket.IPPROTO_TCP, states):
                yield _Socket(
                    address=_address(family, data[8:24]),
                    port=int.from_bytes(data[4:6], "big"),
                    far=_address(family, data[24:40]),
                    far_port=int.from_bytes(data[6:8], "big"),
                )

    def _all(self, protocol: int, states: int) -> frozenset[int]:
        return frozenset(
            port for family in _FAMILIES for port in self._ports(family, protocol, states)
        )

    def _ports(self, family: int, protocol: int, states: int) -> Iterator[int]:
        for data in self._messages(family, protocol, states):
            yield int.from_bytes(data[4:6], "big")

    def _messages(self, family: int, protocol: int, states: int) -> Iterator[bytes]:
        """Each ``inet_diag_msg`` (linux/inet_diag.h)."""
        request = _REQUEST.pack(family, protocol, 0, states)
        header = _HEADER.pack(
            _HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 0, 0
        )
        self._socket.send(header + request)
        while True:
            data = self._socket.recv(_BUFFER_BYTES)
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind = struct.unpack_from("=IH", data, offset)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise KernelRefusedError("the kernel does not list listening sockets")
                yield data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3

    def close(self) -> None:
        """Close the netlink socket."""
        self._socket.close()
