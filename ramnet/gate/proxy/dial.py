"""Reaching a name: by our own resolution of it, or through a parent proxy."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from ramnet.gate.outward import open_socket
from ramnet.gate.proxy import limits
from ramnet.gate.proxy.destination import Destination, Nearness
from ramnet.gate.proxy.relay import reset
from ramnet.gate.proxy.sockets import limited
from ramnet.wire.name import is_address


class DialError(Exception):
    """A name that could not be reached; the text is one short reason for the client."""


class Resolution(Protocol):
    """What the resolver gives for a name."""

    @property
    def addresses(self) -> tuple[str, ...]: ...


class Resolves(Protocol):
    """What the proxy needs of the resolver."""

    async def resolve(self, name: str) -> Resolution: ...

    def known(self, name: str) -> Resolution | None: ...

    def gave(self, address: str) -> frozenset[str]: ...


async def addresses_of(resolver: Resolves, name: str) -> tuple[str, ...]:
    """The addresses to dial for ``name``. Raises DialError."""
    if is_address(name):  # reached only where the policy restricts nothing, or by configuration
        return (name,)
    if known := resolver.known(name):
        return known.addresses
    try:
        async with limited(limits.DIAL_TIME):
            addresses = (await resolver.resolve(name)).addresses
    except TimeoutError:
        raise DialError(f"{name} was not resolved in time") from None
    except Exception as error:  # ResolutionError, or a fault there that must not be one here
        raise DialError(f"{name} could not be resolved: {error}") from error
    if not addresses:
        raise DialError(f"{name} has no usable address")
    return addresses


class Dialler:
    """Connects to names directly."""

    def __init__(self, resolver: Resolves, nearness: Nearness) -> None:
        self._resolver, self._nearness = resolver, nearness

    async def dial(
        self, name: str, port: int, preferred: str | None = None, *, near: bool = True
    ) -> socket.socket:
        """A connected, non-blocking socket. Raises DialError.

        ``preferred`` is the address that the client chose; it comes first if it is one of the
        name's own, and does not count otherwise. ``near``: also to what is near; not for a
        container, which would get at this machine's loopback and round Docker's isolation.
        """
        addresses = await addresses_of(self._resolver, name)
        if not near:
            addresses = tuple(a for a in addresses if not self._nearness.contains(a))
            if not addresses:
                raise DialError(f"{name} is near this machine, which opens no way there")
        return await self.connect(order(addresses, preferred), port, name)

    async def connect(self, addresses: Sequence[str], port: int, name: str) -> socket.socket:
        """Connect to the first of ``addresses`` that answers. Raises DialError."""
        allowed = [a for a in addresses if not self._nearness.is_gate(Destination(a, port))]
        if not allowed:
            raise DialError(f"{name} is the gate itself")
        race = Race(allowed[: limits.DIAL_ADDRESSES], port, self._make)
        try:
            return await race.run(limits.DIAL_TIME)
        except TimeoutError:
            raise DialError(f"{name} did not answer in time") from None
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise DialError(f"{name} could not be reached: {reason}") from None

    def _make(self, address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if not self._nearness.contains(address):
            return open_socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._nearness.keep_near(sock, address)
        except OSError:
            sock.close()
            raise
        return sock


def order(addresses: Sequence[str], preferred: str | None) -> list[str]:
    """``preferred`` first if it is there, then its family, then the rest."""
    if preferred is None or len(addresses) == 1:
        return list(addresses)
    family = ":" in preferred
    return sorted(addresses, key=lambda a: (a != preferred, (":" in a) != family))


class Race:
    """Connects to several addresses, each with a head start over the next (RFC 8305)."""

    def __init__(
        self, addresses: Sequence[str], port: int, make: Callable[[str], socket.socket]
    ) -> None:
        self._left, self._port, self._make = list(addresses), port, make
        self._loop = asyncio.get_running_loop()
        self._winner: socket.socket | None = None
        self._ended: asyncio.Future[None] | None = None
        self._running: set[socket.socket] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._error = OSError("no address")

    async def run(self, seconds: float) -> socket.socket:
        """The first connected socket. Raises the last OSError when none is, or TimeoutError."""
        try:
            self._next()
            if not self._over:
                await self._wait(seconds)
        except BaseException:
            if self._winner is not None:
                self._winner.close()
            raise
        finally:
            self._stop()
        if self._winner is None:
            raise self._error
        return self._winner

    async def _wait(self, seconds: float) -> None:
        self._ended = self._loop.create_future()
        end = self._loop.call_later(seconds, self._give_up)
        try:
            await self._ended
        finally:
            end.cancel()

    @property
    def _over(self) -> bool:
        return self._winner is not None or not (self._left or self._running)

    def _give_up(self) -> None:
        self._error = TimeoutError()
        self._end()

    def _end(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for sock in self._running:
            self._loop.remove_writer(sock.fileno())
            sock.close()
        self._running.clear()

    def _next(self) -> None:
        """Begin with the next address, and after a failure with the one after it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._left and self._winner is None:
            if self._begin(self._left.pop(0)):
                break
        if self._over:
            self._end()
        elif self._left:
            self._timer = self._loop.call_later(limits.DIAL_STAGGER, self._next)

    def _begin(self, address: str) -> bool:
        """Whether it is under way (or already won)."""
        try:
            sock = self._make(address)
        except OSError as error:
            self._error = error
            return False
        self._running.add(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connected = _connect(sock, (address, self._port))
        except OSError as error:
            self._lost(sock, error)
            return False
        if connected:
            self._win(sock)
        else:
            self._loop.add_writer(sock.fileno(), self._ready, sock)
        return True

    def _ready(self, sock: socket.socket) -> None:
        self._loop.remove_writer(sock.fileno())
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error:
            self._win(sock)
        else:
            self._lost(sock, OSError(error, os.strerror(error)))
            self._next()

    def _win(self, sock: socket.socket) -> None:
        self._running.discard(sock)
        if self._winner is not None:
            reset(sock)
        else:
            self._winner = sock
            self._end()

    def _lost(self, sock: socket.socket, error: OSError) -> None:
        self._running.discard(sock)
        self._error = error
        sock.close()


def _connect(sock: socket.socket, to: tuple[str, int]) -> bool:
    """Whether it is connected already; asked twice, since a host on the same machine has answered
    before the first call returns. Raises OSError."""
    error = sock.connect_ex(to)
    if error == errno.EINPROGRESS:
        error = sock.connect_ex(to)
    if error in (errno.EINPROGRESS, errno.EALREADY):
        return False
    if error not in (0, errno.EISCONN):
        raise OSError(error, os.strerror(error))
    return True
