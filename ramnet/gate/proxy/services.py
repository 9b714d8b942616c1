"""What every connection of a proxy shares."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from ramnet.audit import Event, EventLog
from ramnet.gate.denial.handshake import TlsDenial
from ramnet.gate.judge import Judge
from ramnet.gate.proxy.begun import Begun
from ramnet.gate.proxy.decision import Kind
from ramnet.gate.proxy.destination import (
    Admitted,
    Destination,
    Nearness,
    OriginalDestination,
)
from ramnet.gate.proxy.dial import DialError, Resolves
from ramnet.gate.proxy.engine import Engine
from ramnet.gate.proxy.flow import Flow, Flows
from ramnet.gate.proxy.parent import Upstreams
from ramnet.gate.proxy.pipes import PipePool

_LOGGER = logging.getLogger(__name__)


class DroppedError(Exception):
    """This connection is refused without words."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


@dataclass(slots=True)
class Counters:
    """Since the start."""

    accepted: int = 0
    over_limit: int = 0
    allowed: int = 0
    refused: int = 0
    would_deny: int = 0
    """What passed because the policy says ``enforce = false``."""
    unreachable: int = 0


@dataclass(slots=True)
class Services:
    """The proxy's parts, as a connection sees them."""

    judge: Judge
    resolver: Resolves
    upstreams: Upstreams
    nearness: Nearness
    engine: Engine
    flows: Flows
    tls_denial: TlsDenial
    log: EventLog
    original_destination: OriginalDestination
    explicit_clients: Admitted
    explicit_listeners: frozenset[Destination]
    pipes: PipePool = field(default_factory=PipePool)
    counters: Counters = field(default_factory=Counters)

    def report(self, event: Event) -> None:
        """Count and log what became of a flow."""
        counters = self.counters
        if event.verdict == "refused":
            counters.refused += 1
        elif event.verdict == "would-deny":
            counters.would_deny += 1
        else:
            counters.allowed += 1
        self.log.write(event)

    async def dial_address(self, destination: Destination) -> socket.socket:
        """A socket connected to where the client meant to go. Raises DialError."""
        address, port = destination
        return await self.upstreams.dialler.connect([address], port, str(destination))

    def run(self, flow: Flow, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` for ``flow`` in a task; whatever becomes of it, nothing is left open."""
        self._go_on(flow, self._run(flow, work), work)

    def begin(self, flow: Flow, work: Coroutine[Any, Any, None]) -> None:
        """The same, at once as far as there is nothing to wait for, which for most is to the end:
        so a task, its context and two turns of the loop are spared.

        ``work`` is in no task then, so its limits of time are ``sockets.limited``.
        """
        if asyncio.current_task() is not None:
            self.run(flow, work)
            return
        run = self._run(flow, work)
        try:
            waits_for = run.send(None)
        except StopIteration:
            if flow.task is None:
                flow.settle()
        else:
            self._go_on(flow, Begun(run, waits_for), work)

    def _go_on(
        self, flow: Flow, run: Coroutine[Any, Any, None], work: Coroutine[Any, Any, None]
    ) -> None:
        flow.task = self.engine.loop.create_task(run)
        flow.task.add_done_callback(lambda task: _settle(flow, work, task))

    async def _run(self, flow: Flow, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except DroppedError as dropped:
            flow.refuse(dropped.kind, None, dropped.reason)
            flow.abort(dropped.reason)
        except DialError as error:
            self.counters.unreachable += 1
            flow.abort(str(error))
        except OSError as error:
            flow.abort(error.strerror or str(error) or "it took too long")
        except asyncio.CancelledError:
            # Cancelled by the flow's own end, or by the gate's: nobody waits for this task.
            with contextlib.suppress(OSError):
                flow.abort("cancelled")
        except Exception:
            _LOGGER.exception("a fault of the gate's own; the connection is refused")
            flow.refuse("opaque", None, "a fault of the gate's own")
            flow.abort("a fault of the gate's own")


def _settle(flow: Flow, work: Coroutine[Any, Any, None], task: asyncio.Task[None]) -> None:
    work.close()  # it never began where the task was cancelled before its first step
    if flow.task is task:  # else its last act called for the next one
        flow.settle()
