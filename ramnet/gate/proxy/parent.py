"""A parent proxy: names are sent to it and it resolves them.

TLS to the parent is bridged: a socket pair stands for the connection, and two small loops copy
between it and asyncio's TLS stream. So every other part of the proxy sees a plain socket.
"""

import asyncio
import contextlib
import socket
import ssl
from base64 import b64encode
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from ramnet import config
from ramnet.gate.proxy import limits
from ramnet.gate.proxy.dial import DialError, Dialler
from ramnet.gate.proxy.sockets import Peeker, limited, take
from ramnet.wire.http import connect_head, read_response_status
from ramnet.wire.result import Malformed, NeedMore

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Parent:
    """The proxy at ``url``. Names in ``direct``, and below its ``.suffixes``, do without it."""

    def __init__(self, url: str, direct: list[str], dialler: Dialler) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._names = frozenset(name.lower() for name in direct if not name.startswith("."))
        self._suffixes = tuple(name.lower() for name in direct if name.startswith("."))
        self._dialler = dialler
        self._bridges: set[asyncio.Task[None]] = set()
        self.extra: tuple[tuple[bytes, bytes], ...] = _credentials(parts.username, parts.password)
        """Fields that every request to the parent carries."""

    def serves(self, name: str) -> bool:
        """Whether connections to ``name`` go through the parent."""
        return name not in self._names and not name.endswith(self._suffixes or ("\0",))

    async def tunnel(self, name: str, port: int) -> socket.socket:
        """A socket that ends, through the parent, at ``name``. Raises DialError."""
        sock = await self.open()
        try:
            async with limited(limits.PARENT_TIME):
                await _ask(sock, connect_head(name, port, extra=self.extra))
        except (OSError, DialError) as error:
            sock.close()
            raise DialError(f"the parent proxy: {str(error) or 'no answer in time'}") from None
        except BaseException:
            sock.close()
            raise
        return sock

    async def open(self) -> socket.socket:
        """A socket to the parent itself. Raises DialError."""
        sock = await self._dialler.dial(self._host, self._port)
        if self._context is None:
            return sock
        try:
            async with limited(limits.PARENT_TIME):
                reader, writer = await asyncio.open_connection(
                    sock=sock, ssl=self._context, server_hostname=self._host
                )
        except (OSError, ValueError) as error:
            sock.close()
            raise DialError(f"the parent proxy: no TLS: {error}") from None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        theirs.setblocking(False)
        task = asyncio.create_task(_bridge(theirs, reader, writer))
        self._bridges.add(task)
        task.add_done_callback(self._bridges.discard)
        return ours

    async def close(self) -> None:
        """End every bridge."""
        tasks = tuple(self._bridges)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Upstreams:
    """The one way to reach a name: directly or through the parent."""

    def __init__(self, dialler: Dialler, settings: config.Proxy) -> None:
        self.dialler = dialler
        self._parent = (
            Parent(settings.parent, settings.direct, dialler) if settings.parent else None
        )

    def parent_for(self, name: str) -> Parent | None:
        """The parent through which ``name`` is reached, if any."""
        return self._parent if self._parent and self._parent.serves(name) else None

    async def dial(
        self, name: str, port: int, preferred: str | None = None, *, near: bool = True
    ) -> socket.socket:
        """A socket whose other end is ``name``; as ``Dialler.dial``. Raises DialError."""
        parent = self.parent_for(name)
        if parent is not None:
            return await parent.tunnel(name, port)
        return await self.dialler.dial(name, port, preferred, near=near)

    async def close(self) -> None:
        """End what the parent holds open."""
        if self._parent is not None:
            await self._parent.close()


def _credentials(user: str | None, password: str | None) -> tuple[tuple[bytes, bytes], ...]:
    if user is None:
        return ()
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password or "")
    return ((b"Proxy-Authorization", b"Basic " + b64encode(pair)),)


async def _ask(sock: socket.socket, request: bytes) -> None:
    """Send a CONNECT and take the heads of its answer, and no byte of what follows."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.PARENT_TIME
    await loop.sock_sendall(sock, request)
    peeker = Peeker(sock)
    while True:
        result = read_response_status(peeker.data, limit=limits.PARENT_HEAD)
        if isinstance(result, Malformed):
            raise DialError(result.reason)
        if isinstance(result, NeedMore):
            if peeker.ended or not await peeker.more(result.total, deadline):
                raise DialError("no answer")
            continue
        take(sock, result.length)
        if result.status >= 300:
            raise DialError(f"it answered {result.status}")
        if not result.interim:
            return
        peeker.look()


async def _bridge(
    sock: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    up = asyncio.create_task(_copy_up(sock, writer))
    try:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await reader.read(limits.COPY_SIZE):
                await loop.sock_sendall(sock, data)
    finally:
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)
        sock.close()
        writer.transport.abort()


async def _copy_up(sock: socket.socket, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(sock, limits.COPY_SIZE):
            writer.write(data)
            await writer.drain()
        await asyncio.sleep(limits.TLS_HALF_CLOSE)
    finally:
        writer.transport.abort()
