"""Takes connections from one listener, in bursts."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

from ramnet.gate.proxy import limits

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Calls ``accepted`` with each new connection, non-blocking."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        accepted: Callable[[socket.socket], None],
    ) -> None:
        self._loop, self._listener, self._accepted = loop, listener, accepted
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        # Accepted sockets inherit both: what is relayed is not to wait for more.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        loop.add_reader(listener, self._accept)

    @property
    def resting(self) -> bool:
        """It waits for descriptors or memory to come free."""
        return self._pause is not None

    def close(self) -> None:
        """Stop and close the listener."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(limits.ACCEPT_BURST):
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest()
                    return
                continue  # that one connection was gone before it was taken (accept(2))
            client.setblocking(False)
            self._accepted(client)

    def _rest(self) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(limits.ACCEPT_PAUSE, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)
