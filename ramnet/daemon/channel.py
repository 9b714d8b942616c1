"""What supervisor and gate say to each other: one JSON object a packet, descriptors beside it.

``SOCK_SEQPACKET`` keeps packets whole and tells the end of the other side. Both directions are
typed; what does not decode is an error of the other side and ends the conversation.
"""

import array
import socket
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec

from ramnet.errors import RamnetError
from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.journal import Level
from ramnet.policy import MAX_PORTS

MAX_PACKET: Final = 160 * 1024
"""Bytes; below the kernel's default socket buffer, so that one packet always fits."""
_MAX_FDS: Final = 253  # SCM_MAX_FD (unix(7))


class ChannelError(RamnetError):
    """The other side said what it must not, or too much."""


class Begin(msgspec.Struct, tag="begin", frozen=True):
    """First packet: how to work, and a listening socket for each role, in order."""

    spec: GateSpec
    surroundings: Surroundings
    roles: list[str]


class Near(msgspec.Struct, tag="near", frozen=True):
    """The machine changed around the scope."""

    surroundings: Surroundings


class Listen(msgspec.Struct, tag="listen", frozen=True):
    """Serve these listening sockets as well, a role for each, in order."""

    roles: list[str]


class Adopt(msgspec.Struct, tag="adopt", frozen=True):
    """Put the policy of the one descriptor that comes along in force."""

    serial: int
    notice: str = ""
    """Added to every sentence of a refusal."""


class RefuseAll(msgspec.Struct, tag="refuse-all", frozen=True):
    """There is no policy: refuse everything, giving this reason."""

    serial: int
    reason: str


class Log(msgspec.Struct, tag="log", frozen=True):
    """Show so much besides the audit log."""

    level: Level


class Ping(msgspec.Struct, tag="ping", frozen=True):
    """Say that you live, and how you are."""

    serial: int


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """The gate serves its sockets."""


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Adopted(msgspec.Struct, tag="adopted", frozen=True):
    """That policy is in force here; its own words about itself (absent after ``RefuseAll``)."""

    serial: int
    version: int = 0
    organization: str = ""
    digest: str = ""
    entries: int = 0
    restricts: bool = True
    enforced: bool = True
    ports: Annotated[list[Port], msgspec.Meta(max_length=MAX_PORTS)] = []
    """TCP ports that its entries name."""


class Rejected(msgspec.Struct, tag="rejected", frozen=True):
    """That policy cannot be used; the one before it stays."""

    serial: int
    reason: str


class Pong(msgspec.Struct, tag="pong", frozen=True):
    """Answer to ``Ping``, with the gate's counters."""

    serial: int
    status: dict[str, Any]


_T = TypeVar("_T")

ToGate = Begin | Near | Listen | Adopt | RefuseAll | Log | Ping
FromGate = Ready | Adopted | Rejected | Pong

_encoder = msgspec.json.Encoder()
_to_gate: msgspec.json.Decoder[ToGate] = msgspec.json.Decoder(ToGate)
_from_gate: msgspec.json.Decoder[FromGate] = msgspec.json.Decoder(FromGate)


def pair() -> tuple[socket.socket, socket.socket]:
    """A new channel: the supervisor's end, which does not block, and the gate's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_PACKET)
    return ours, theirs


def send(channel: socket.socket, message: ToGate | FromGate, fds: Sequence[int] = ()) -> None:
    """Send one packet at once.

    Raises ChannelError when it is too large or the other side is gone or does not read.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_PACKET or len(fds) > _MAX_FDS:
        raise ChannelError(f"{type(message).__name__} of {len(data)} bytes is too large")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        channel.sendmsg([data], rights)
    except OSError as error:
        raise ChannelError(f"{type(message).__name__} not sent: {error.strerror}") from error


def receive_in_supervisor(channel: socket.socket) -> FromGate | None:
    """The next packet of a gate, None at the end of the channel.

    Descriptors that a gate sends are not taken (``recv`` lets the kernel close them).
    Raises BlockingIOError when there is none yet, ChannelError when it cannot be read.
    """
    data = channel.recv(MAX_PACKET + 1)
    return _decode(_from_gate, data) if data else None


def receive_in_gate(channel: socket.socket) -> tuple[ToGate, list[int]] | None:
    """The next packet of the supervisor with its descriptors, None at the end of the channel."""
    data, fds, _, _ = socket.recv_fds(channel, MAX_PACKET + 1, _MAX_FDS)
    return (_decode(_to_gate, data), fds) if data else None


def _decode(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    if len(data) > MAX_PACKET:
        raise ChannelError("a packet is too large")
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ChannelError(f"a packet cannot be read: {error}") from error
