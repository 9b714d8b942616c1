"""One edge-triggered epoll for all relayed sockets, nested in the event loop's own.

A relay registers its sockets once, and once more where one was full, so moving bytes costs no
epoll_ctl(2) and no loop handle; asyncio sees one descriptor. Most sockets are never full, and one
whose room is not asked for costs no event that only says that it has some.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Final

READABLE: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
WRITABLE: Final = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
ODD: Final = select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
"""Urgent data, or an end: not just bytes in a row."""
_WATCHED = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
_EVENTS_PER_TURN = 512


class Engine:
    """Tells relays of readiness, and gives busy ones their turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now = loop.time()
        """The loop's clock as of this turn, in seconds."""
        self.lingering: set[Callable[[], None]] = set()
        """Closes sockets that wait for a last acknowledgement and belong to no flow any more."""
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._unfinished: list[Callable[[], None]] = []
        self._scheduled = False
        loop.add_reader(self._epoll.fileno(), self._turn)

    def watch(self, fd: int, handler: Callable[[int], None]) -> None:
        """Call ``handler`` with the epoll mask at each edge; where there is something to read
        already, that makes one."""
        self._handlers[fd] = handler
        self._epoll.register(fd, _WATCHED)

    def watch_room(self, fd: int) -> None:
        """From now on tell of room to write too: at once where there is some."""
        self._epoll.modify(fd, _WATCHED | select.EPOLLOUT)

    def forget(self, fd: int) -> None:
        """Stop watching; to be called before ``fd`` is closed."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def again(self, pump: Callable[[], None]) -> None:
        """Call ``pump`` once the others had their turn: it stopped short of its edge."""
        self._unfinished.append(pump)
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._resume)

    def close(self) -> None:
        """Stop; every flow is gone by now."""
        for close in tuple(self.lingering):
            close()
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _turn(self) -> None:
        self.now = self.loop.time()
        handlers = self._handlers
        for fd, mask in self._epoll.poll(0, _EVENTS_PER_TURN):
            handler = handlers.get(fd)  # None: closed by an earlier event of this turn
            if handler is not None:
                handler(mask)

    def _resume(self) -> None:
        self._scheduled = False
        self.now = self.loop.time()
        pumps, self._unfinished = self._unfinished, []
        for pump in pumps:
            pump()
