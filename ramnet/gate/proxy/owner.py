"""Whose socket a client's is, asked of the kernel by sock_diag(7), one socket a question.

No privilege is needed for that. The cgroup is told since Linux 5.8 (INET_DIAG_CGROUP_ID).
"""

import ipaddress
import socket
import struct
import sys
from typing import Final, NamedTuple

from ramnet.gate.proxy.destination import Destination

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI")  # struct inet_diag_req_v2, then inet_diag_sockid
_SOCKET_ID: Final = struct.Struct("!HH16s16s")
_ANY_SOCKET: Final = b"\0" * 4 + b"\xff" * 8  # any interface, INET_DIAG_NOCOOKIE
_MESSAGE: Final = 72  # struct inet_diag_msg
_UID: Final = struct.Struct("=I")
_UID_AT: Final = 64
_ATTRIBUTE: Final = struct.Struct("=HH")
_CGROUP_ID: Final = 21  # INET_DIAG_CGROUP_ID
_PIECE: Final = 8192
_PATIENCE: Final = 0.05
"""Seconds; the kernel answers within the call that asks."""


class Owner(NamedTuple):
    """By what two sockets are told to be one program's."""

    uid: int
    cgroup: int | None

    def __str__(self) -> str:
        return f"uid {self.uid}" + ("" if self.cgroup is None else f", cgroup {self.cgroup}")


def owner_of(own: Destination, far: Destination) -> Owner | None:
    """Who owns the TCP socket of this network namespace that is bound to ``own`` and connected to
    ``far``, as its program sees them (before any NAT); None where the kernel knows none."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
            netlink.settimeout(_PATIENCE)
            netlink.send(_question(own, far))
            answer = netlink.recv(_PIECE)
    except OSError:
        return None
    return _read(answer)


def _question(own: Destination, far: Destination) -> bytes:
    ends = ipaddress.ip_address(own.address), ipaddress.ip_address(far.address)
    family = socket.AF_INET if ends[0].version == 4 else socket.AF_INET6
    identity = _SOCKET_ID.pack(own.port, far.port, *(end.packed for end in ends))
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0xFFFF_FFFF) + identity + _ANY_SOCKET
    size = _HEADER.size + len(request)
    return _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + request


def _read(answer: bytes) -> Owner | None:
    kind = _HEADER.unpack_from(answer)[1] if len(answer) >= _HEADER.size else 0
    body = answer[_HEADER.size :]
    if kind != _SOCK_DIAG_BY_FAMILY or len(body) < _MESSAGE:
        return None
    (uid,) = _UID.unpack_from(body, _UID_AT)
    return Owner(uid, _cgroup(body[_MESSAGE:]))


def _cgroup(attributes: bytes) -> int | None:
    while len(attributes) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _CGROUP_ID:
            return int.from_bytes(attributes[4:12], sys.byteorder)
        attributes = attributes[max(size + 3 & ~3, _ATTRIBUTE.size) :]
    return None
