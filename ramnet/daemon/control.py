"""The control socket: HTTP/1.1 with JSON on a Unix socket, so that curl is a client.

::

    GET  /v1/status    the document of ``ramnet status --json``; anybody may read it
    POST /v1/refresh   fetch or read the policy now; answers when it is in force
    POST /v1/sign-in   {"token": JWT}; answers with the session when it is in force
    POST /v1/sign-out  answers when the gates refuse what the session had opened
    POST /v1/log-level {"level": "info" | "debug"}; until the service ends
    POST /v1/down      take every rule away, answer, and end the service; root only

What changes something is for root and the members of the group ``ramnet``. One request a
connection. Who asks is the kernel's word (SO_PEERCRED and SO_PEERGROUPS, unix(7)). An answer
other than 200 is ``{"error": SENTENCE}``.
"""

import asyncio
import contextlib
import grp
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

from ramnet.daemon.http_head import read_head
from ramnet.errors import RamnetError
from ramnet.ruleset import GATE_UID
from ramnet.wire.http_model import Chunked, Length, RequestHead

MAX_HEAD: Final = 8192
MAX_BODY: Final = 64 * 1024
GROUP: Final = "ramnet"
"""Whose members may change what root may, ``down`` excepted."""
TIME_LIMIT: Final = 5.0
"""Seconds until a client must have asked."""
MAX_CLIENTS: Final = 16
"""At once, of one user: nobody keeps another one out, but by being as many users as this:"""
MAX_OTHERS: Final = 256
"""At once, of all users but root."""
BACKLOG: Final = 1024
"""Connections that wait to be accepted (listen(2)); who comes then waits, or is told EAGAIN."""
_UCRED: Final = struct.Struct("iII")  # pid, uid, gid
_GID: Final = struct.Struct("I")
_SO_PEERGROUPS: Final = 59
_GROUPS_SIZE: Final = 1024
"""Bytes, the most that Python asks for: 256 groups; who has more is told no."""


class Reply(NamedTuple):
    """Status and JSON body."""

    status: HTTPStatus
    body: Any


class Route(NamedTuple):
    """What answers one method on one path."""

    handle: Callable[..., Awaitable[Any]]
    root_only: bool = False
    changes: bool = False
    """For root and the group ``ramnet``."""
    body: bool = False
    """``handle`` takes the body of the request, at most ``MAX_BODY`` bytes."""


class Control:
    """Serves the routes on the socket until ``close``."""

    def __init__(self, path: Path, routes: dict[tuple[str, str], Route]) -> None:
        """``routes`` by method and path."""
        self._path, self._routes = path, routes
        self._clients: dict[asyncio.Task[None], int] = {}  # and the user that it serves
        self._listener: socket.socket | None = None

    async def start(self) -> None:
        """Listen; the caller holds the lock that makes a socket found here a stale one."""
        self._path.unlink(missing_ok=True)
        listener = self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(self._path))
        listener.listen(BACKLOG)
        self._path.chmod(0o666)
        self._listen(listener)

    async def close(self) -> None:
        """Stop listening, remove the socket, and let those finish who asked already."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)
        if self._clients:
            await asyncio.wait(self._clients, timeout=TIME_LIMIT)

    def _listen(self, listener: socket.socket) -> None:
        if listener is self._listener:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Who has no place is turned away before it costs anything: others wait behind it."""
        for _ in range(BACKLOG):
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor left; look again when there may be one
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(1, self._listen, listener)
                return
            uid = _uid_of(client)
            if not self._has_room(uid):
                client.close()
                continue
            task = asyncio.create_task(self._client(client))
            self._clients[task] = uid
            task.add_done_callback(self._clients.pop)

    async def _client(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=client, limit=MAX_HEAD)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError):
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _has_room(self, uid: int) -> bool:
        users = list(self._clients.values())
        others = len(users) - users.count(0)
        return users.count(uid) < MAX_CLIENTS and (uid == 0 or others < MAX_OTHERS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(TIME_LIMIT):
            head, rest = await read_head(reader, MAX_HEAD)
            body = await _read_body(reader, head, rest)
        reply = await self._answer(head, body, writer)
        writer.write(_encode(reply, head_only=head is not None and head.method == "HEAD"))
        async with asyncio.timeout(TIME_LIMIT):
            await writer.drain()

    async def _answer(
        self, head: RequestHead | None, body: bytes | None, writer: asyncio.StreamWriter
    ) -> Reply:
        if head is None or body is None:
            return _error(HTTPStatus.BAD_REQUEST, "this is not an HTTP/1.1 request")
        path = head.target.partition("?")[0]
        method = "GET" if head.method == "HEAD" else head.method
        route = self._routes.get((method, path))
        if route is None:
            if any(known == path for _, known in self._routes):
                return _error(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} does not take {method}")
            return _error(HTTPStatus.NOT_FOUND, f"there is no {path}")
        if route.root_only and _peer_uid(writer) != 0:
            return _error(HTTPStatus.FORBIDDEN, "only root may do that")
        if route.changes and not _may_change(writer):
            return _error(HTTPStatus.FORBIDDEN, f"only root and the group {GROUP} may do that")
        try:
            given = (body,) if route.body else ()
            return Reply(HTTPStatus.OK, await route.handle(*given))
        except RamnetError as error:
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        except Exception as error:  # the service goes on whatever one answer stumbles over
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, f"unexpected {error!r}")


async def _read_body(
    reader: asyncio.StreamReader, head: RequestHead | None, rest: bytes
) -> bytes | None:
    """As long as the head says (RFC 9112 section 6.3); None where that cannot be."""
    if head is None or isinstance(head.body, Chunked):
        return None
    length = head.body.size if isinstance(head.body, Length) else 0
    if length > MAX_BODY:
        return None
    try:
        return rest[:length] + await reader.readexactly(max(length - len(rest), 0))
    except asyncio.IncompleteReadError:
        return None


def _may_change(writer: asyncio.StreamWriter) -> bool:
    """Root, or a member of the group, by primary or supplementary groups."""
    uid = _peer_uid(writer)
    if uid in (0, GATE_UID):  # a gate may be of that group, and reads what the network sent
        return uid == 0
    try:
        wanted = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return False
    sock = writer.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    try:
        groups = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_SIZE)
    except OSError:
        groups = b""
    return wanted == _UCRED.unpack(credentials)[2] or wanted in (
        gid for (gid,) in _GID.iter_unpack(groups)
    )


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    return _uid_of(writer.get_extra_info("socket"))


def _uid_of(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])


def _error(status: HTTPStatus, sentence: str) -> Reply:
    return Reply(status, {"error": sentence})


def _encode(reply: Reply, *, head_only: bool) -> bytes:
    body = json.dumps(reply.body, indent=2).encode() + b"\n"
    head = (
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + (b"" if head_only else body)
