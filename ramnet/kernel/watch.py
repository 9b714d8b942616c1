"""Tells when somebody else changes our table or our routes, at the moment it happens.

nf_tables reports every transaction to the group NFNLGRP_NFTABLES: one message for each object,
with its sender's port id, and a last one that names the process (nf_tables_api.c,
nf_tables_gen_notify). rtnetlink does so for routes and policy rules. What a message holds is not
believed further than that something happened; what to do about it is found by reading back.

The second line is the ruleset's generation, a number that each transaction increases: while it is
the one that our own last transaction left, nothing of nf_tables in this namespace has changed.
"""

import select
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from ramnet.ruleset.names import SINKHOLE4, SINKHOLE6

_NETLINK_NETFILTER: Final = 12
_NFNLGRP_NFTABLES: Final = 7
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_SO_RCVBUFFORCE: Final = 33
_RECEIVE_BUFFER: Final = 4 << 20
_NFNL_SUBSYS_NFTABLES: Final = 10
_NFPROTO_INET: Final = 1
_NFT_MSG_NEWTABLE: Final = 0
_NFT_MSG_NEWGEN: Final = 15
_NFT_MSG_GETGEN: Final = 16
_NFTA_GEN_ID: Final = 1
_NFTA_GEN_PROC_PID: Final = 2
_NFTA_GEN_PROC_NAME: Final = 3
_NFTA_TABLE: Final = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE and so on: all are 1."""

_RTNLGRP_ROUTES: Final = (7, 8, 11, 19)
"""RTNLGRP_IPV4_ROUTE, _IPV4_RULE, _IPV6_ROUTE, _IPV6_RULE (rtnetlink.h)."""
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE, _RTM_DELRULE = 24, 25, 26, 33
_RTM_F_FIB_MATCH: Final = 0x2000
_NLM_F_REQUEST: Final = 1
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_RTA_DST: Final = 1
_ROUTE_PROTOCOL_OFFSET: Final = 5
_SINKHOLES: Final = (
    socket.inet_pton(socket.AF_INET, SINKHOLE4),
    socket.inet_pton(socket.AF_INET6, SINKHOLE6),
)

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NFGENMSG: Final = 4
_TYPE_MASK: Final = 0x3FFF
_PIECE: Final = 1 << 16
_PIECES_AT_ONCE: Final = 64
_NAMED_WITHIN: Final = 0.05
"""Seconds to wait at most for the message that names who made a transaction."""


class Change(NamedTuple):
    """Something of ours was changed by another hand."""

    rules: bool = False
    routes: bool = False
    who: str = ""
    """``nft (pid 4711)``, empty where the kernel did not say; the pid is the machine's."""


class Watch:
    """Subscriptions in the network namespace of the thread that makes it.

    Attributes:
        descriptors: become readable when there is something to ``read``.
    """

    def __init__(self, table: str, route_protocol: int) -> None:
        """``table`` of family inet, and the routes that carry this rtm_protocol."""
        self._table, self._protocol = table.encode(), route_protocol
        self._ours: int | None = None
        self._changed, self._unnamed, self._who = False, False, ""
        self._rules = _subscribe(_NETLINK_NETFILTER, (_NFNLGRP_NFTABLES,))
        self._routes = _subscribe(socket.NETLINK_ROUTE, _RTNLGRP_ROUTES)
        self._asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._asking.settimeout(2)
        self._routing = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._routing.settimeout(2)

    @property
    def descriptors(self) -> tuple[int, int]:
        """Of the two subscriptions."""
        return self._rules.fileno(), self._routes.fileno()

    def close(self) -> None:
        """Unsubscribe."""
        for sock in (self._rules, self._routes, self._asking, self._routing):
            sock.close()

    def generation(self) -> int:
        """The number of the ruleset as it stands in this namespace; 0 where it is not told."""
        kind = _NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_GETGEN
        self._asking.send(_HEADER.pack(_HEADER.size + _NFGENMSG, kind, 1, 0, 0) + bytes(_NFGENMSG))
        for message in _messages(self._asking.recv(_PIECE)):
            if message.kind & 0xFF != _NFT_MSG_NEWGEN:
                continue
            found = dict(_attributes(message.payload[_NFGENMSG:])).get(_NFTA_GEN_ID)
            if found is not None:
                return int.from_bytes(found, "big")
        return 0

    def route_stands(self, address: str) -> bool:
        """Whether the kernel's own choice for ``address`` is a route of ours."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        packed = socket.inet_pton(family, address)
        asked = _ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
        asked += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _RTA_DST) + packed
        head = _HEADER.pack(_HEADER.size + len(asked), _RTM_GETROUTE, _NLM_F_REQUEST, 0, 0)
        self._routing.send(head + asked)
        for message in _messages(self._routing.recv(_PIECE)):
            if message.kind == _RTM_NEWROUTE:
                return message.payload[_ROUTE_PROTOCOL_OFFSET] == self._protocol
        return False

    def made_it(self) -> None:
        """Learn our own port id: call it when our table was replaced by us."""
        self._take(self._drain(self._rules), replaced=True)

    def read(self) -> Change:
        """What others changed since the last call, as far as it is about us."""
        self._take(self._drain(self._rules), replaced=False)
        if self._unnamed:
            # Its last message names the author. It is sent before the transaction ends, and
            # nobody's next one can begin before that: to wait for it delays no mending.
            select.select([self._rules], [], [], _NAMED_WITHIN)
            self._take(self._drain(self._rules), replaced=False)
        messages, lost = self._drain(self._routes)
        routes = lost or any(map(self._is_about_routes, messages))
        change = Change(self._changed, routes, self._who)
        self._changed, self._unnamed, self._who = False, False, ""
        return change

    def _take(self, drained: tuple[list["_Message"], bool], *, replaced: bool) -> None:
        messages, lost = drained
        ours = [number for number, message in enumerate(messages) if self._is_new_table(message)]
        if replaced and ours:
            # Whatever somebody did before that has gone with the table that it was done to.
            self._ours = messages[ours[-1]].sender
            messages, self._changed, self._who = messages[ours[-1] :], False, ""
            self._unnamed = False
        self._changed |= lost
        for message in messages:
            if message.kind & 0xFF == _NFT_MSG_NEWGEN:
                if self._unnamed:
                    self._who, self._unnamed = _who(message), False
            elif message.sender != self._ours and self._names_us(message):
                self._changed = self._unnamed = True

    def _is_new_table(self, message: "_Message") -> bool:
        return message.kind & 0xFF == _NFT_MSG_NEWTABLE and self._names_us(message)

    def _drain(self, sock: socket.socket) -> tuple[list["_Message"], bool]:
        """All messages there are, and whether some were lost; a storm is read piece by piece."""
        messages: list[_Message] = []
        lost = False
        for _ in range(_PIECES_AT_ONCE):
            try:
                messages.extend(_messages(sock.recv(_PIECE)))
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS
                lost = True
        return messages, lost

    def _names_us(self, message: "_Message") -> bool:
        # The first attribute of every object is its table.
        payload = message.payload
        if len(payload) < _NFGENMSG + _ATTRIBUTE.size:
            return False
        length, kind = _ATTRIBUTE.unpack_from(payload, _NFGENMSG)
        name = payload[_NFGENMSG + _ATTRIBUTE.size : _NFGENMSG + length]
        return (
            payload[0] == _NFPROTO_INET
            and kind & _TYPE_MASK == _NFTA_TABLE
            and name.rstrip(b"\0") == self._table
        )

    def _is_about_routes(self, message: "_Message") -> bool:
        if message.kind == _RTM_DELRULE:
            return True
        if message.kind not in (_RTM_NEWROUTE, _RTM_DELROUTE):
            return False
        ours = message.payload[_ROUTE_PROTOCOL_OFFSET] == self._protocol
        if message.kind == _RTM_DELROUTE:
            return ours
        to = dict(_attributes(message.payload[_ROUTE.size :])).get(_RTA_DST)
        return to in _SINKHOLES and not ours


class _Message(NamedTuple):
    kind: int
    sender: int
    payload: bytes


def _subscribe(family: int, groups: tuple[int, ...]) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, family)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    sock.bind((0, 0))
    for group in groups:
        try:
            sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except OSError:  # this kernel does not report it; the polling check does
            continue
    return sock


def _messages(data: bytes) -> Iterator[_Message]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, sender = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield _Message(kind, sender, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _who(message: _Message) -> str:
    found = dict(_attributes(message.payload[_NFGENMSG:]))
    name = found.get(_NFTA_GEN_PROC_NAME, b"").rstrip(b"\0").decode(errors="replace")
    pid = int.from_bytes(found.get(_NFTA_GEN_PROC_PID, b""), "big")
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return f"{printable} (pid {pid})" if name else ""
