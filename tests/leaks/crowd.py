"""Many connections to one place at once, each sending a byte now and then, or nothing.

Run as a script by any Python with a JSON file as its argument. It prints `ready` when every
connection was answered, one way or the other, and at SIGTERM what became of them.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any


class Crowd:
    """All the connections."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._bytes, self._seconds = bytes.fromhex(plan["bytes"]), plan["seconds"]
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._sent: dict[int, int] = {}
        self._stopped = False
        self.counted = {"connected": 0, "refused": 0, "closed": 0}
        for _ in range(plan["count"]):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                sock.connect((plan["address"], plan["port"]))
            self._open[sock.fileno()] = sock
            self._poll.register(sock, select.EPOLLOUT)

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        waiting, following = set(self._open), 0.0
        began, told = time.monotonic(), False
        while not self._stopped:
            for fd, _ in self._poll.poll(0.05):
                if fd in waiting:
                    waiting.discard(fd)
                    self._connected(fd)
                else:
                    self._readable(fd)
            if not told and (not waiting or time.monotonic() - began > 20):
                told = True
                print("ready", flush=True)
            if self._seconds and time.monotonic() > following:
                following = time.monotonic() + self._seconds
                self._send()
        self.counted["refused"] += len(waiting)
        print(json.dumps(self.counted), flush=True)

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopped = True

    def _connected(self, fd: int) -> None:
        if self._open[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end(fd, "refused")
            return
        self.counted["connected"] += 1
        self._sent[fd] = 0
        self._poll.modify(fd, select.EPOLLIN)

    def _readable(self, fd: int) -> None:
        try:
            if self._open[fd].recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._end(fd, "closed")

    def _send(self) -> None:
        for fd, at in list(self._sent.items()):
            try:
                self._open[fd].send(self._bytes[at : at + 1])
            except BlockingIOError:
                continue
            except OSError:
                self._end(fd, "closed")
                continue
            self._sent[fd] = (at + 1) % len(self._bytes)

    def _end(self, fd: int, how: str) -> None:
        self.counted[how] += 1
        self._poll.unregister(fd)
        self._open.pop(fd).close()
        self._sent.pop(fd, None)


if __name__ == "__main__":
    crowd = Crowd(json.loads(Path(sys.argv[1]).read_text()))
    crowd.run()
