"""The supervisor's hand on one gate process: starts it, feeds it, hears its heart, replaces it."""

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ramnet.daemon import channel
from ramnet.daemon.child import Child
from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.journal import Level

WORKER: Final = (sys.executable, "-I", "-m", "ramnet.daemon.worker")
BEAT: Final = 0.5
"""Seconds between two questions for the gate's health."""
MISSED_BEATS: Final = 4
"""A gate that leaves so many questions unanswered is stopped or hung. Questions are counted,
not seconds, so that a supervisor which was itself stopped does not blame its gates."""
START_LIMIT: Final = 20.0
"""Seconds that a gate may take until it is ready."""
FIRST_DELAY: Final = 0.1
"""Seconds before the second restart in a row; the first comes at once, further ones double it."""
LAST_DELAY: Final = 2.0
HEALTHY: Final = 10.0
"""Seconds of life after which a gate that ends is restarted at once again."""


@dataclass(frozen=True, slots=True)
class PolicyOrder:
    """What a gate shall have in force: a blob (sealed memfd), or nothing for a reason."""

    serial: int
    blob: int | None
    reason: str = ""
    notice: str = ""
    """What every refusal says besides; only with a blob."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gate lives, made by the kernel room."""

    namespace: int
    cgroup: Path | None
    listeners: dict[str, list[socket.socket]]
    dial: str = "scope"
    """From which namespace what is afar is dialled: the scope's, or ramnet's ``own``."""


class GateKeeper:
    """Keeps one gate running until ``stop``."""

    def __init__(
        self,
        spec: GateSpec,
        place: Place,
        surroundings: Surroundings,
        *,
        tell: Callable[[str], None],
        changed: Callable[[], None],
        command: Sequence[str] = WORKER,
        adopted: Callable[[channel.Adopted], None] = lambda _: None,
    ) -> None:
        """``tell`` takes a sentence for the service's log; ``changed`` is called on any news,
        ``adopted`` before that when the gate has put the policy that was ordered in force."""
        self.spec, self.place = spec, place
        self.pid: int | None = None
        self.restarts = 0
        self.ready = False
        self.serving = False
        """Ready, and it has adopted an order since it was started."""
        self.status: dict[str, Any] = {}
        """The gate's own words, from its last answer."""
        self.answer: channel.Adopted | channel.Rejected | None = None
        """What the gate said to the last order; None while it owes that."""
        self._surroundings, self._order = surroundings, PolicyOrder(0, None, "ramnet is starting")
        self._tell, self._changed, self._command = tell, changed, command
        self._adopted = adopted
        self._level: Level = "info"
        self._channel: socket.socket | None = None
        self._unanswered, self._deaf = 0, False
        self._task: asyncio.Task[None] | None = None

    @property
    def surroundings(self) -> Surroundings:
        """What is near the scope, as the gate was told last."""
        return self._surroundings

    def start(self) -> None:
        """Start the gate, and go on doing so whenever it ends."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """End the gate; the rules refuse what comes then."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def order(self, order: PolicyOrder) -> None:
        """Have this policy in force, now and after every restart."""
        self._order, self.answer = order, None
        self._send_order()

    def update(self, surroundings: Surroundings) -> None:
        """Pass on what is near the scope, where that changed."""
        if surroundings != self._surroundings:
            self._surroundings = surroundings
            self._send(channel.Near(surroundings))

    def set_log_level(self, level: Level) -> None:
        """Have the gate show so much, now and after every restart."""
        self._level = level
        self._send(channel.Log(level))

    def listen(self, listeners: dict[str, list[socket.socket]]) -> None:
        """Hand over further sockets, which ``place`` holds for every later gate."""
        sockets = [(role, sock) for role, group in listeners.items() for sock in group]
        if sockets:
            self._send(
                channel.Listen([role for role, _ in sockets]),
                [sock.fileno() for _, sock in sockets],
            )

    async def _keep(self) -> None:
        delay = 0.0
        while True:
            began = time.monotonic()
            try:
                reason = await self._live()
            except Exception as error:  # whatever it is, the gate must come back
                reason = f"could not be kept ({error!r})"
            self.restarts += 1
            self._tell(
                f"scope {self.spec.scope}: the gate {reason}; everything is refused until "
                "it is back"
            )
            self._changed()
            if time.monotonic() - began > HEALTHY:
                delay = 0.0
            await asyncio.sleep(delay)
            delay = min(max(FIRST_DELAY, 2 * delay), LAST_DELAY)

    async def _live(self) -> str:
        """One life of a gate; returns how it ended."""
        ours, theirs = channel.pair()
        with ours:
            try:
                with theirs:
                    child = self._spawn(theirs)
            except OSError as error:
                return f"could not be started ({error.strerror})"
            self._channel, self.pid, self._unanswered, self._deaf = ours, child.pid, 0, False
            try:
                self._begin()
                return await self._converse(ours)
            finally:
                self._channel, self.pid, self.answer = None, None, None
                self.ready = self.serving = False
                await child.end()

    def _spawn(self, theirs: socket.socket) -> Child:
        place = self.place
        arguments = [f"--channel={theirs.fileno()}", f"--netns={place.namespace}"]
        if place.cgroup is not None:
            arguments.append(f"--cgroup={place.cgroup}")
        if place.dial == "own":
            arguments.append("--dial-own")
        fds = (theirs.fileno(), place.namespace)
        return Child([*self._command, *arguments], pass_fds=fds)

    def _begin(self) -> None:
        sockets = [(role, s) for role, group in self.place.listeners.items() for s in group]
        begin = channel.Begin(self.spec, self._surroundings, [role for role, _ in sockets])
        self._send(begin, [sock.fileno() for _, sock in sockets])
        self._send(channel.Log(self._level))
        self._send_order()

    async def _converse(self, ours: socket.socket) -> str:
        """Take what the gate says until it ends or falls silent; returns which."""
        ended = asyncio.get_running_loop().create_future()
        ended.add_done_callback(lambda _: None)

        def readable() -> None:
            reason = self._drain(ours)
            if reason and not ended.done():
                ended.set_result(reason)

        loop = asyncio.get_running_loop()
        loop.add_reader(ours, readable)
        beats = loop.create_task(self._beat())
        try:
            await asyncio.wait((ended, beats), return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended.done() else beats.result()
        finally:
            loop.remove_reader(ours)
            beats.cancel()

    def _drain(self, ours: socket.socket) -> str | None:
        """Take all packets there are; a reason when the conversation is over."""
        try:
            while True:
                message = channel.receive_in_supervisor(ours)
                if message is None:
                    return "ended"
                self._take(message)
        except BlockingIOError:
            return None
        except (OSError, channel.ChannelError) as error:
            return f"broke off ({error})"

    def _take(self, message: channel.FromGate) -> None:
        match message:
            case channel.Ready():
                self.ready = True
                self._changed()
            case channel.Pong():
                self._unanswered = 0
                self.status = message.status
            case channel.Adopted() | channel.Rejected():
                if message.serial == self._order.serial:
                    if isinstance(message, channel.Adopted):
                        self._adopted(message)
                    self.answer = message
                    self.serving |= isinstance(message, channel.Adopted)
                    self._changed()

    async def _beat(self) -> str:
        began = time.monotonic()
        serial = 0
        while self.ready or time.monotonic() - began < START_LIMIT:
            if self._deaf:
                return "does not read what it is told"
            if self.ready:
                if self._unanswered >= MISSED_BEATS:
                    return f"did not answer for {MISSED_BEATS * BEAT:g} s"
                serial += 1
                self._unanswered += 1
                self._send(channel.Ping(serial))
            await asyncio.sleep(BEAT)
        return f"was not ready within {START_LIMIT:g} s"

    def _send_order(self) -> None:
        order = self._order
        if order.blob is None:
            self._send(channel.RefuseAll(order.serial, order.reason))
        else:
            self._send(channel.Adopt(order.serial, order.notice), [order.blob])

    def _send(self, message: channel.ToGate, fds: Sequence[int] = ()) -> None:
        if self._channel is None:
            return  # the next gate hears it from _begin
        try:
            channel.send(self._channel, message, fds)
        except channel.ChannelError:
            # It missed what it must know; the next one is told everything from the beginning.
            self._deaf = True
