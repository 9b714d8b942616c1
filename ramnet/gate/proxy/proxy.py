"""The proxy as the gate sees it."""

import asyncio
import dataclasses
import resource
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from ramnet.audit import EventLog
from ramnet.config_values import parse_endpoint
from ramnet.gate.denial.handshake import TlsDenial
from ramnet.gate.judge import Judge
from ramnet.gate.proxy import limits
from ramnet.gate.proxy.accept import Acceptor
from ramnet.gate.proxy.destination import (
    Admitted,
    Destination,
    Nearness,
    OriginalDestination,
    original_destination,
    own_address,
    plain,
)
from ramnet.gate.proxy.dial import Dialler, Resolves
from ramnet.gate.proxy.engine import Engine
from ramnet.gate.proxy.flow import Flow, Flows
from ramnet.gate.proxy.parent import Upstreams
from ramnet.gate.proxy.relay import reset
from ramnet.gate.proxy.serve import serve_covered, serve_explicit, serve_transparent
from ramnet.gate.proxy.services import Services
from ramnet.gate.spec import GateSpec, Interception, Surroundings

Serve = Callable[[Services, Flow], Coroutine[Any, Any, None]]

_DESTINATIONS: Final[dict[Interception, OriginalDestination]] = {
    "redirect": original_destination,
    "anyip": own_address,
}


class Proxy:
    """Transparent and explicit proxy of one scope."""

    def __init__(
        self,
        judge: Judge,
        resolver: Resolves,
        spec: GateSpec,
        log: EventLog,
        *,
        find_destination: OriginalDestination | None = None,
    ) -> None:
        """To be made inside the running loop. ``find_destination`` says where a connection was
        meant to go; None is the kernel's word, by the way that ``spec`` names."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._limit = min(spec.connection_limit, _affordable())
        self._acceptors: list[Acceptor] = []
        nearness = Nearness((spec.sinkhole4, spec.sinkhole6))
        in_use = spec.denial.tls == "certificate"
        flows = Flows(loop, judge, spec.scope, log.write)
        self._services = Services(
            judge=judge,
            resolver=resolver,
            upstreams=Upstreams(Dialler(resolver, nearness), spec.proxy),
            nearness=nearness,
            engine=Engine(loop),
            flows=flows,
            tls_denial=TlsDenial(
                spec.ca_certificate if in_use else None, spec.ca_key if in_use else None
            ),
            log=log,
            original_destination=find_destination or _DESTINATIONS[spec.interception],
            explicit_clients=Admitted(spec.proxy.explicit_clients),
            explicit_listeners=frozenset(_listeners(spec.proxy.explicit)),
        )

    async def start(
        self,
        transparent: Iterable[socket.socket],
        explicit: Iterable[socket.socket],
        cover: Iterable[socket.socket] = (),
    ) -> None:
        """Serve these listening sockets; they belong to the proxy from now on."""
        for listener in transparent:
            self._listen(listener, serve_transparent)
        for listener in explicit:
            self._listen(listener, serve_explicit)
        for listener in cover:
            self._listen(listener, serve_covered)

    def update_surroundings(self, surroundings: Surroundings) -> None:
        """Take over the machine as it stands now."""
        self._services.nearness.update(surroundings)
        self._services.flows.containers = surroundings.containers

    def status(self) -> dict[str, Any]:
        """Counters since the start, and what is open now."""
        counters = dataclasses.asdict(self._services.counters)
        pipes = self._services.pipes.lent
        flows = self._services.flows
        moved = {"bytes_up": flows.bytes_up, "bytes_down": flows.bytes_down}
        open_now = {"open": len(flows), "limit": self._limit, "pipes": pipes}
        latency = {
            "decision_latency": flows.decision_latency.document(),
            "join_latency": flows.join_latency.document(),
        }
        return {**counters, **moved, **open_now, **latency}

    async def close(self) -> None:
        """Stop listening and reset every connection."""
        for acceptor in self._acceptors:
            acceptor.close()
        tasks = self._services.flows.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._services.upstreams.close()
        self._services.engine.close()
        self._services.pipes.close()

    def _listen(self, listener: socket.socket, serve: Serve) -> None:
        services = self._services

        def accepted(client: socket.socket) -> None:
            services.counters.accepted += 1
            if len(services.flows) >= self._limit:
                services.counters.over_limit += 1
                reset(client)
                return
            flow = Flow(services.flows, client, services.report)
            services.flows.add(flow)
            services.begin(flow, serve(services, flow))

        self._acceptors.append(Acceptor(self._loop, listener, accepted))


def _affordable() -> int:
    """How many connections the process's descriptors are enough for."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return 2**31
    return max(1, (descriptors - limits.DESCRIPTORS_RESERVED) // limits.DESCRIPTORS_PER_CONNECTION)


def _listeners(texts: Iterable[str]) -> Iterable[Destination]:
    for text in texts:
        endpoint = parse_endpoint(text)
        yield Destination(plain(endpoint.address), endpoint.port)
