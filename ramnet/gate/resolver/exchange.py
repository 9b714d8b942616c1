"""One question to one upstream: a socket, a port and an id of its own (RFC 5452)."""

import asyncio
import errno
import secrets
import socket
from collections.abc import Callable
from typing import Final

from ramnet.config_values import Endpoint
from ramnet.gate.outward import open_socket
from ramnet.gate.resolver.errors import UpstreamError
from ramnet.wire.dns import Reply, build_query, read_reply
from ramnet.wire.result import ABSENT, Malformed

STRAY_LIMIT: Final = 64
"""Datagrams that answer something else: beyond this somebody is guessing, and we ask by TCP."""
_PORTS: Final = range(1024, 32768)
"""Below the kernel's ephemeral range: on a client's own port its NAT entry would lead us back to
ourselves, and the rules refuse that."""
_ATTEMPTS: Final = 8
_TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})
_RECEIVE: Final = 65535
_FLAGS: Final = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


def _family(endpoint: Endpoint) -> int:
    return socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET


def _new_query(name: bytes, qtype: int, *, edns: bool) -> bytes:
    return build_query(secrets.randbits(16), name, qtype, edns=edns)


def _connected(endpoint: Endpoint, query: bytes) -> socket.socket:
    for attempt in range(_ATTEMPTS):
        try:
            return _sent_from(_PORTS[secrets.randbelow(len(_PORTS))], endpoint, query)
        except OSError as error:  # out of descriptors, no route, or the port is somebody's
            if error.errno not in _TAKEN or attempt == _ATTEMPTS - 1:
                raise UpstreamError(error.strerror or str(error)) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def _sent_from(port: int, endpoint: Endpoint, query: bytes) -> socket.socket:
    made = open_socket(_family(endpoint), socket.SOCK_DGRAM | _FLAGS)
    try:
        made.bind(("", port))
        made.connect((endpoint.address, endpoint.port))
        made.send(query)
    except OSError:
        made.close()
        raise
    return made


class DatagramExchange:
    """Sends when made; ``outcome`` is done when the true answer came or none can come.

    The socket is connected, so the kernel passes only what comes from the upstream's address
    and port. ``close`` must be called, whatever became of it.
    """

    def __init__(self, endpoint: Endpoint, name: bytes, qtype: int, *, edns: bool) -> None:
        """Raises UpstreamError where the query cannot even be sent."""
        self._loop = asyncio.get_running_loop()
        self.endpoint = endpoint
        self.outcome: asyncio.Future[Reply | UpstreamError] = self._loop.create_future()
        self.settled: Callable[[], None] | None = None
        """Called at once when ``outcome`` is done, a turn of the loop before its own callbacks."""
        self._query = _new_query(name, qtype, edns=edns)
        self._strays = 0
        self._socket = _connected(endpoint, self._query)
        # By number: asked for a socket object that it does not know, the selector first puts
        # the object's whole description into an exception, which costs more than the rest.
        self._fd = self._socket.fileno()
        self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Give the socket back; a late answer finds its port closed."""
        self._finish(UpstreamError("given up"))
        self._socket.close()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:  # ICMP unreachable, told to the connected socket
            self._finish(UpstreamError(error.strerror or str(error)))
            return
        reply = read_reply(data, self._query)
        if reply is ABSENT:
            self._stray()
        elif isinstance(reply, Malformed):
            self._finish(UpstreamError(f"malformed reply: {reply.reason}"))
        elif isinstance(reply, Reply):
            self._finish(reply)

    def _stray(self) -> None:
        self._strays += 1
        if self._strays >= STRAY_LIMIT:
            self._finish(Reply(0, truncated=True))

    def _finish(self, outcome: Reply | UpstreamError) -> None:
        if not self.outcome.done():
            self._loop.remove_reader(self._fd)
            self.outcome.set_result(outcome)
            if self.settled is not None:
                self.settled()


async def _stream_to(endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = open_socket(_family(endpoint), socket.SOCK_STREAM | _FLAGS)
    try:
        address = (endpoint.address, endpoint.port)
        await asyncio.get_running_loop().sock_connect(sock, address)
        return await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise


async def exchange_stream(
    endpoint: Endpoint, name: bytes, qtype: int, *, edns: bool
) -> Reply | UpstreamError:
    """The same over TCP (RFC 7766); the caller sets the time limit."""
    query = _new_query(name, qtype, edns=edns)
    try:
        reader, writer = await _stream_to(endpoint)
    except OSError as error:
        return UpstreamError(error.strerror or str(error))
    try:
        writer.write(len(query).to_bytes(2) + query)
        size = int.from_bytes(await reader.readexactly(2))
        reply = read_reply(await reader.readexactly(size), query)
    except (OSError, asyncio.IncompleteReadError):
        return UpstreamError("the connection was closed before the answer")
    finally:
        writer.transport.abort()
    if not isinstance(reply, Reply):
        return UpstreamError("malformed or foreign reply over TCP")
    return UpstreamError("truncated even over TCP") if reply.truncated else reply
