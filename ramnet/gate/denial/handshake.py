"""Answers a refused TLS client inside TLS, on the very socket it opened."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from ramnet.gate.denial.authority import Issuer
from ramnet.gate.proxy import limits
from ramnet.gate.proxy.sockets import limited, linger
from ramnet.wire.http import RequestHead, read_request_head
from ramnet.wire.result import NeedMore
from ramnet.wire.tls import ACCESS_DENIED, alert

Answer = Callable[[RequestHead | None], bytes]
"""The whole HTTP answer to a request; None for what was none."""


class TlsDenial:
    """Refuses TLS: by a certificate of ours, or by an alert where there is no authority."""

    def __init__(self, certificate: str | None, key: str | None) -> None:
        """Paths of the authority's PEM files, or None for alerts. They are read when first
        needed, so an authority that appears late is used too."""
        self._paths = (Path(certificate), Path(key)) if certificate and key else None
        self._issuer: Issuer | None = None
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    async def refuse(self, client: socket.socket, name: str | None, answer: Answer) -> None:
        """Refuse ``name`` (normalised) to the client, whose ClientHello is still in the socket,
        and close it. None, for what is no proper name, is refused by an alert."""
        try:
            context = await self._context(name) if name else None
        except BaseException:  # cancelled, while nobody else has the socket yet
            client.close()
            raise
        with contextlib.suppress(OSError):
            if context is not None:
                await _serve(client, context, answer)
                return
            client.send(alert(ACCESS_DENIED))
        if context is None:
            await linger(client)

    async def _context(self, name: str) -> ssl.SSLContext | None:
        context = self._contexts.get(name)
        if context is not None:
            self._contexts.move_to_end(name)
            return context
        if self._paths is None:
            return None
        try:
            if self._issuer is None:
                # It loads much code, seconds on a slow machine: others go on meanwhile.
                self._issuer = await asyncio.to_thread(_issuer, *self._paths)
            context = _server_context(self._issuer.issue(name))
        except (OSError, ValueError):
            return None
        self._contexts[name] = context
        if len(self._contexts) > limits.LEAVES_KEPT:
            self._contexts.popitem(last=False)
        return context


def _issuer(certificate: Path, key: Path) -> Issuer:
    issuer = Issuer(certificate.read_bytes(), key.read_bytes())
    issuer.issue("h.example")  # the rest of the code is loaded by the first one
    return issuer


def _server_context(pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    # OpenSSL reads files alone; this one never touches a disk.
    fd = os.memfd_create("ramnet-leaf")
    try:
        os.write(fd, pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return context


async def _serve(client: socket.socket, context: ssl.SSLContext, answer: Answer) -> None:
    """Handshake, one request, one answer. The transport owns the socket from here on."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limits.COPY_SIZE)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol,
        client,
        ssl=context,
        ssl_handshake_timeout=limits.ANSWER_TIME,
        ssl_shutdown_timeout=limits.LINGER_TIME,
    )
    try:
        async with limited(limits.ANSWER_TIME):
            head = await _read_head(reader)
        transport.write(answer(head))
        with contextlib.suppress(TimeoutError):
            async with limited(limits.LINGER_TIME):
                await _discard(reader)
    finally:
        transport.abort()


async def _read_head(reader: asyncio.StreamReader) -> RequestHead | None:
    """The client's request, or None for what is none: the answer is the same."""
    data = b""
    while True:
        more = await reader.read(limits.COPY_SIZE)
        data += more
        head = read_request_head(data)
        if isinstance(head, RequestHead):
            return head
        if not more or not isinstance(head, NeedMore):
            return None


async def _discard(reader: asyncio.StreamReader) -> None:
    left = limits.LINGER_BYTES
    while left > 0 and (data := await reader.read(limits.COPY_SIZE)):
        left -= len(data)
