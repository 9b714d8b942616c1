"""Tries forbidden things, and things that must work, all the time; counts what it made of them.

Run as a script by any Python, inside a host, with a JSON file as its argument (see
`tests.leaks.probes`). It prints `ready` when it is at work and, at SIGTERM, one line of JSON. All
sockets are non-blocking and live in one epoll(7), so that a mute peer delays nobody. It ends when
everything has had its turn, however short of time the machine is: each forbidden probe was begun,
each flow has talked once more, and those that must be cut are.
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

_BUSY = 200  # attempts under way at once; more would only fill the gate's backlog
_READ = 4096
_REQUESTS = 500  # on one connection; nginx closes it after 1,000 (keepalive_requests)
_PATIENCE = 3  # seconds for a connection of a flow
_LAST_TURN = 15  # seconds after SIGTERM until it ends, whoever has not had a turn


class Attempt:
    """One try of a probe: connect, send, read; over at the first thing that decides it."""

    def __init__(self, probe: dict[str, Any]) -> None:
        self.probe = probe
        self.began = time.monotonic()
        self.sent = self.over = False
        self.end = "silence"
        self._read = b""
        kind = getattr(socket, probe["type"])
        family = getattr(socket, probe["family"])
        self.socket = socket.socket(family, kind | socket.SOCK_NONBLOCK, probe["protocol"])
        if probe.get("device"):
            self.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, probe["device"].encode()
            )
        with contextlib.suppress(BlockingIOError):
            self.socket.connect((probe["address"], probe["port"]))
        if kind != socket.SOCK_STREAM:
            self._send()

    def _send(self) -> None:
        self.sent = True
        if self.probe["payload"]:
            self.socket.send(bytes.fromhex(self.probe["payload"]))

    def advance(self) -> None:
        """Go on as far as it goes now; `over` says whether that was the end of it."""
        try:
            if not self.sent:
                if code := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(code, "connect")
                self._send()
            data = self.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._finish(errno.errorcode.get(error.errno or 0, "error"))
            return
        self._read += data
        self._judge(ended=not data)

    def _judge(self, *, ended: bool) -> None:
        if any(bytes.fromhex(mark) in self._read for mark in self.probe["marks"]):
            self._finish("reached")
        elif ended:
            self._finish("answered" if self._read else "closed")
        elif not self.probe["steady"]:
            self._finish("answered")

    def _finish(self, end: str) -> None:
        self.over, self.end = True, end

    def late(self, now: float) -> bool:
        return bool(now - self.began > self.probe["seconds"])


class Flow:
    """One connection kept open: a request, its answer, the next request; broken only from outside.

    An *old* one is never opened again, and goes on talking whether or not it is answered.
    """

    def __init__(self, probe: dict[str, Any]) -> None:
        self.probe = probe
        self.answers, self.breaks, self.tries = 0, list[float](), 0
        self._waiting = self._answered = False
        self._opened = 0.0
        self._socket: socket.socket | None = None
        self._open(_PATIENCE)

    def _open(self, seconds: float = 0) -> None:
        family, kind = getattr(socket, self.probe["family"]), getattr(socket, self.probe["type"])
        self._socket, self._waiting = socket.socket(family, kind), False
        self._opened, self._answered = time.monotonic(), False
        self._socket.settimeout(seconds)
        try:
            self._socket.connect((self.probe["address"], self.probe["port"]))
            self._socket.setblocking(False)
        except BlockingIOError:
            return
        except OSError:
            self._break()

    def is_through(self, tries: int) -> bool:
        """Whether it was cut, if it must be, or has tried since it had made so many."""
        if self._socket is None:
            return bool(self.probe["old"])
        return self.tries > tries and not self.probe["cut"]

    def _break(self) -> None:
        self.breaks.append(time.monotonic())
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def tick(self) -> None:
        if self._socket is None:
            if self.probe["old"]:
                return
            self._open()
        if self._socket is None:
            return
        if (
            not (self._answered or self.probe["old"])
            and self._opened + _PATIENCE < time.monotonic()
        ):
            self._break()
            return
        try:
            self._talk(self._socket)
        except BlockingIOError:
            pass
        except OSError:
            if self._socket.type == socket.SOCK_STREAM:
                self._break()
            else:
                self.tries += 1  # refused

    def _talk(self, sock: socket.socket) -> None:
        if not self._waiting or self.probe["old"]:
            sock.send(bytes.fromhex(self.probe["payload"]))
            self.tries += 1
            self._waiting = True
        if not sock.recv(1 << 16):
            raise ConnectionResetError
        self.answers += 1
        self._waiting, self._answered = False, True
        if self.answers % _REQUESTS == 0 and not self.probe["old"]:
            sock.close()
            self._open()

    def report(self) -> dict[str, Any]:
        return {"answers": self.answers, "breaks": self.breaks, "tries": self.tries}


class Prober:
    """Everything at once, until SIGTERM."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._tick, self._each = plan["tick"], plan["each"]
        forbidden = [probe for probe in plan["probes"] if not probe["steady"]]
        self._forbidden: Iterator[dict[str, Any]] | None = cycle(forbidden) if forbidden else None
        self._untried = len(forbidden)
        self._steady = [[0.0, probe] for probe in plan["probes"] if probe["steady"]]
        self._flows = [Flow(probe) for probe in plan["flows"]]
        self._poll = select.epoll()
        self._open: dict[int, Attempt] = {}
        self._ends: dict[str, dict[str, int]] = {}
        self._samples: dict[str, list[tuple[float, bool]]] = {}
        self._reached: list[tuple[float, str]] = []
        self._skipped = 0
        self._last_tries: list[int] = []

    def run(self) -> None:
        stopped: list[float] = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(time.monotonic()))
        print("ready", flush=True)
        while not stopped or not self._all_had_a_turn(stopped[0]):
            until = time.monotonic() + self._tick
            self._begin_some()
            for flow in self._flows:
                flow.tick()
            while (left := until - time.monotonic()) > 0:
                self._advance(left)
            self._drop_late()
        for attempt in list(self._open.values()):
            attempt.end = "cut off"
            self._close(attempt)
        print(json.dumps(self.report()), flush=True)

    def _all_had_a_turn(self, stopped: float) -> bool:
        if not self._last_tries:
            self._last_tries = [flow.tries for flow in self._flows]
        done = all(map(Flow.is_through, self._flows, self._last_tries))
        return (done and not self._untried) or time.monotonic() > stopped + _LAST_TURN

    def _begin_some(self) -> None:
        now = time.monotonic()
        for entry in self._steady:
            if now >= entry[0]:
                entry[0] = now + entry[1]["every"]
                self._begin(entry[1])
        if self._forbidden is None:
            return
        for _ in range(self._each):
            if len(self._open) >= _BUSY:
                self._skipped += 1
                continue
            self._begin(next(self._forbidden))
            self._untried = max(0, self._untried - 1)

    def _begin(self, probe: dict[str, Any]) -> None:
        try:
            attempt = Attempt(probe)
        except OSError as error:
            self._count(probe, errno.errorcode.get(error.errno or 0, "error"), time.monotonic())
            return
        self._open[attempt.socket.fileno()] = attempt
        events = select.EPOLLIN if attempt.sent else select.EPOLLOUT
        self._poll.register(attempt.socket, events)

    def _advance(self, seconds: float) -> None:
        for fd, _ in self._poll.poll(seconds):
            attempt = self._open[fd]
            was_sent = attempt.sent
            attempt.advance()
            if attempt.over:
                self._close(attempt)
            elif attempt.sent and not was_sent:
                self._poll.modify(fd, select.EPOLLIN)

    def _drop_late(self) -> None:
        now = time.monotonic()
        for attempt in [found for found in self._open.values() if found.late(now)]:
            self._close(attempt)

    def _close(self, attempt: Attempt) -> None:
        del self._open[attempt.socket.fileno()]
        self._poll.unregister(attempt.socket)
        attempt.socket.close()
        self._count(attempt.probe, attempt.end, attempt.began)

    def _count(self, probe: dict[str, Any], end: str, began: float) -> None:
        name = probe["name"]
        ends = self._ends.setdefault(name, {})
        ends[end] = ends.get(end, 0) + 1
        if probe["steady"] and end != "cut off":
            self._samples.setdefault(name, []).append((began, end == "reached"))
        if not probe["steady"] and end == "reached":
            where = f"{name} {probe['address']} {probe['port']}"
            self._reached.append((began, where))

    def report(self) -> dict[str, Any]:
        return {
            "ends": self._ends,
            "samples": {name: sorted(found) for name, found in self._samples.items()},
            "reached": self._reached,
            "flows": {flow.probe["name"]: flow.report() for flow in self._flows},
            "skipped": self._skipped,
            "untried": self._untried,
        }


if __name__ == "__main__":
    prober = Prober(json.loads(Path(sys.argv[1]).read_text()))
    prober.run()
