"""Waiting on a raw socket inside asyncio, looking at bytes without taking them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from ramnet.gate.proxy import limits
from ramnet.gate.proxy.relay import awaited, tcp_state

# include/net/tcp_states.h: ESTABLISHED, FIN_WAIT1, FIN_WAIT2; in any other the peer has ended.
_RECEIVING = (1, 4, 5)
_SPURIOUS_PAUSE = 0.05


async def wait_readable(sock: socket.socket, deadline: float) -> bool:
    """Wait until ``sock`` is readable; False when the loop's clock reaches ``deadline``."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bool] = loop.create_future()
    timer = loop.call_at(deadline, _settle, future, False)
    fd = sock.fileno()
    loop.add_reader(fd, _settle, future, True)
    awaited.add(fd)
    try:
        return await future
    finally:
        timer.cancel()
        if sock.fileno() == fd:  # else it was closed meanwhile, and the number is another's
            awaited.discard(fd)
            loop.remove_reader(fd)


@contextlib.asynccontextmanager
async def limited(seconds: float) -> AsyncIterator[None]:
    """``asyncio.timeout``, also for what was begun without a task (``Services.begin``)."""
    if asyncio.current_task() is None:
        await asyncio.sleep(0)
    async with asyncio.timeout(seconds):
        yield


def _settle(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)


class Peeker:
    """Looks at what a peer has sent, from the first byte that was not taken."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.data = b""
        """All that is there, as of the last look."""
        self.ended = False
        """The peer will send no more than that."""

    def look(self, most: int = limits.PEEK_FIRST) -> None:
        """Look without waiting. Raises OSError for a broken connection."""
        try:
            self.data = self._sock.recv(most, socket.MSG_PEEK)
            self.ended = not self.data
        except BlockingIOError:
            self.data = b""

    async def more(self, total: int, deadline: float) -> bool:
        """Wait until ``total`` bytes are there or the peer ended; False at the deadline.

        The kernel is asked to wake us for no less (SO_RCVLOWAT), so one byte a packet costs
        the gate nothing.
        """
        known = len(self.data)
        if total > 1:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, total)
        try:
            while await wait_readable(self._sock, deadline):
                self.look(max(limits.PEEK_FIRST, min(total * 2, limits.PEEK_MOST)))
                if len(self.data) >= total or self.ended:
                    return True
                if len(self.data) == known and tcp_state(self._sock) not in _RECEIVING:
                    self.ended = True
                    return True
                if len(self.data) == known:  # woken for memory pressure: do not spin
                    await asyncio.sleep(_SPURIOUS_PAUSE)
                known = len(self.data)
            return False
        finally:
            if total > 1:
                with contextlib.suppress(OSError):
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def take(sock: socket.socket, count: int) -> bytes:
    """Take ``count`` bytes that a look has shown to be there."""
    data = sock.recv(count)
    while len(data) < count:
        data += sock.recv(count - len(data))
    return data


async def send_all(sock: socket.socket, data: bytes, seconds: float) -> None:
    """Send everything. Raises OSError (TimeoutError after ``seconds``)."""
    with contextlib.suppress(BlockingIOError):
        data = data[sock.send(data) :]
    if not data:  # as nearly always: answers and heads are small
        return
    fd = sock.fileno()
    awaited.add(fd)
    try:
        async with limited(seconds):
            await asyncio.get_running_loop().sock_sendall(sock, data)
    finally:
        if sock.fileno() == fd:
            awaited.discard(fd)


async def linger(sock: socket.socket) -> None:
    """Close after a last answer: a close with bytes unread would be a reset, which takes the
    answer from the peer. So say the end, read what comes for a moment, then close."""
    deadline = asyncio.get_running_loop().time() + limits.LINGER_TIME
    left = limits.LINGER_BYTES
    try:
        sock.shutdown(socket.SHUT_WR)
        while left > 0 and await wait_readable(sock, deadline):
            got = len(sock.recv(limits.COPY_SIZE, socket.MSG_TRUNC))
            if not got:
                break
            left -= got
    except OSError:
        pass  # the peer is gone: nothing to be polite to
    finally:
        sock.close()
