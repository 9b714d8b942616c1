"""One client connection, from accept to its last byte, and the table of all of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Final

from ramnet.audit import Event, Redirect, Verdict
from ramnet.gate.histogram import Histogram
from ramnet.gate.judge import Judge
from ramnet.gate.proxy import limits
from ramnet.gate.proxy.decision import Kind
from ramnet.gate.proxy.destination import Destination
from ramnet.gate.proxy.relay import Relay, reset
from ramnet.gate.proxy.ruling import Ruling

POLICY_CHANGED: Final = "the policy changed"


class Flow:
    """Owns the client's socket until a relay or an answer takes it over."""

    __slots__ = (
        "_closed",
        "_decided",
        "_joined",
        "_recorded",
        "_report",
        "_told",
        "began",
        "bytes_down",
        "bytes_up",
        "client",
        "container",
        "destination",
        "grounds",
        "handed_over",
        "kind",
        "relay",
        "table",
        "task",
        "unrestricted",
    )

    def __init__(
        self, table: Flows, client: socket.socket, report: Callable[[Event], None]
    ) -> None:
        self.table = table
        self.client = client
        self.destination: Destination | None = None
        """Where the client meant to go, as far as the kernel knows."""
        self.container: str | None = None
        """Whose it is, where that is a covered container."""
        self.kind: Kind = "opaque"
        self.grounds: tuple[Ruling, ...] = ()
        """All that must hold for the flow to live on."""
        self.unrestricted = False
        """It was let pass, without a name, because the policy did not want anything refused."""
        self.relay: Relay | None = None
        self.handed_over = False
        """The client's socket belongs to a relay or a TLS transport, which closes it."""
        self.task: asyncio.Task[None] | None = None
        """Only while something is being decided."""
        self.bytes_up = self.bytes_down = 0
        self._report = report
        self._told = self._closed = self._recorded = False
        self._decided = self._joined = False
        self.began = table.clock()
        """When it was accepted, in seconds of the loop's clock."""

    @property
    def closed(self) -> bool:
        """It is over and was reported."""
        return self._closed

    def allow(self, kind: Kind, *grounds: Ruling) -> None:
        """Note what it lives on; reported at its end, or now where it would be refused."""
        self._time()
        self.kind = kind
        known = {ground.name for ground in self.grounds if ground.would_deny}
        self.grounds += grounds
        for ground in grounds:
            if ground.would_deny and ground.name not in known:
                self.would_deny(kind, ground, ground.reason)

    def would_deny(self, kind: Kind, ruling: Ruling | None, reason: str | None) -> None:
        """Report now what only passes because the policy says ``enforce = false``."""
        self._time()
        self._told = self._recorded = True
        self._tell(kind, ruling, "would-deny", reason)

    def joined(self) -> None:
        """A server is connected: the time until the first one counts."""
        if not self._joined:
            self._joined = True
            self.table.join_latency.observe(self.table.clock() - self.began)

    def refuse(self, kind: Kind, ruling: Ruling | None, reason: str | None = None) -> None:
        """Report a refusal now."""
        self._time()
        self._told = True
        if reason is None and ruling is not None:
            reason = ruling.reason
        self._tell(kind, ruling, "refused", reason)

    def refused_after(self, ruling: Ruling, redirect: Redirect | None) -> None:
        """Report that what was refused was a redirect, where it was."""
        if redirect is not None:
            self.table.tell(
                Event(
                    scope=self.table.scope,
                    kind="http",  # that is where redirects come from
                    name=ruling.name,
                    port=ruling.port,
                    verdict="info",
                    reason=f"sent here by {redirect.by}",
                    redirect=redirect,
                )
            )

    def close(self, reason: str | None = None) -> None:
        """It is over: report it, once, unless a refusal was all there was to say."""
        if self._closed:
            return
        self._closed = True
        self.table.discard(self)
        decided = self.grounds or self.kind == "near" or self.unrestricted
        if decided and (not self._told or self.bytes_up or self.bytes_down):
            allowed = [ground for ground in self.grounds if not ground.would_deny]
            if allowed or not self._recorded:
                self._tell(self.kind, allowed[-1] if allowed else None, "allowed", reason)

    def abort(self, reason: str) -> None:
        """Reset it at once, whatever it is doing."""
        if self.relay is not None:
            self.relay.abort(reason)
        elif self.task is not None:
            self._cancel()  # the task resets the client: it may be waiting on that socket
        elif not self.handed_over:
            reset(self.client)
        self.close(reason)

    def relayed(self, relay: Relay, reason: str | None) -> None:
        """A relay of this flow has ended."""
        self.count(relay)
        self._cancel()
        self.close(reason)

    def settle(self) -> None:
        """The task is at its end: what no relay carries on is over."""
        self.task = None
        if self.relay is None:
            if not self.handed_over:
                reset(self.client)  # nothing happens where an answer has closed it properly
            self.close()

    def _cancel(self) -> None:
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def count(self, relay: Relay) -> None:
        """Add what a relay has moved."""
        self.bytes_up += relay.up.moved
        self.bytes_down += relay.down.moved
        self.table.bytes_up += relay.up.moved
        self.table.bytes_down += relay.down.moved
        self.relay = None

    def _time(self) -> None:
        if not self._decided:
            self._decided = True
            self.table.decision_latency.observe(self.table.clock() - self.began)

    def _tell(
        self, kind: Kind, ruling: Ruling | None, verdict: Verdict, reason: str | None
    ) -> None:
        moved = verdict == "allowed"
        event = Event(
            scope=self.table.scope,
            kind=kind,
            name=ruling.name if ruling else None,
            port=ruling.port if ruling else self.destination and self.destination.port,
            verdict=verdict,
            entry=ruling.entry if ruling else None,
            original_destination=str(self.destination) if self.destination else None,
            bytes_up=self.bytes_up if moved else 0,
            bytes_down=self.bytes_down if moved else 0,
            reason=reason,
            container=self.container,
        )
        self._report(event)


class Flows:
    """Every open flow; re-decided when the policy changes, reset when idle for too long."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        judge: Judge,
        scope: str,
        tell: Callable[[Event], None],
    ) -> None:
        """``tell`` takes what is known of flows beside their fate."""
        self.scope, self.tell = scope, tell
        self.containers: dict[str, str] = {}
        """Names of covered containers, by address."""
        self.clock = loop.time
        self.bytes_up = self.bytes_down = 0
        """What flows have moved that are over."""
        self.decision_latency, self.join_latency = Histogram(), Histogram()
        """Seconds from accept to the first verdict, and to the first connected server."""
        self._loop, self._judge = loop, judge
        self._open: set[Flow] = set()
        self._reviewing: Iterator[Flow] | None = None
        self._scheduled = False
        judge.subscribe(self._policy_changed)
        self._sweeper = loop.call_later(limits.SWEEP_INTERVAL, self._sweep)

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Flow]:
        return iter(self._open)

    def add(self, flow: Flow) -> None:
        """Enter it."""
        self._open.add(flow)

    def discard(self, flow: Flow) -> None:
        """Take it out."""
        self._open.discard(flow)

    def container_of(self, client: socket.socket) -> str:
        """The name of the container that has the far end's address; that address, if none."""
        try:
            address = str(client.getpeername()[0]).partition("%")[0]
        except OSError:
            return "gone"
        return self.containers.get(address, address)

    def stands(self, flow: Flow) -> bool:
        """Whether the policy in force allows what the flow lives on."""
        if flow.unrestricted and self._judge.enforces:
            return False
        return all(ground.stands(self._judge) for ground in flow.grounds)

    def close(self) -> list[asyncio.Task[None]]:
        """Reset every flow; the tasks that are still to end."""
        self._sweeper.cancel()
        flows = tuple(self._open)
        for flow in flows:
            flow.abort("the gate stopped")
        return [flow.task for flow in flows if flow.task is not None]

    def _policy_changed(self) -> None:
        self._reviewing = iter(tuple(self._open))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._review)

    def _review(self) -> None:
        """One batch a turn, so that thousands of flows do not stall the others."""
        self._scheduled = False
        for _ in range(limits.REVIEW_BATCH):
            flow = next(self._reviewing, None) if self._reviewing is not None else None
            if flow is None:
                self._reviewing = None
                return
            if not flow.closed and not self.stands(flow):
                flow.abort(POLICY_CHANGED)
        self._scheduled = True
        self._loop.call_soon(self._review)

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(limits.SWEEP_INTERVAL, self._sweep)
        oldest = self._loop.time() - limits.IDLE_TIME
        for flow in tuple(self._open):
            if flow.relay is not None and flow.relay.touched < oldest:
                flow.abort("idle for too long")
