"""The ways in: what the kernel redirected, of the scope or of containers; the explicit proxy."""

from ramnet.gate.proxy import limits
from ramnet.gate.proxy.connection import Connection
from ramnet.gate.proxy.decision import BY_ADDRESS, NO_GROUND, Role
from ramnet.gate.proxy.destination import Destination, plain
from ramnet.gate.proxy.flow import Flow
from ramnet.gate.proxy.opening import GONE
from ramnet.gate.proxy.ruling import Ruling, rule
from ramnet.gate.proxy.services import DroppedError, Services
from ramnet.gate.proxy.sockets import Peeker


async def serve_transparent(services: Services, flow: Flow) -> None:
    """Serve a connection that was meant for somewhere else."""
    destination = services.original_destination(flow.client)
    flow.destination = destination
    if destination is None:
        raise DroppedError("opaque", "a connection to the gate itself")
    if destination in services.explicit_listeners:
        await serve_explicit(services, flow)
    elif services.nearness.is_gate(destination):
        raise DroppedError("opaque", "a connection to the gate itself")
    elif not services.judge.restricts:
        await _serve_unrestricted(services, flow, destination)
    elif services.nearness.contains(destination.address):
        await _serve_near(services, flow, destination)
    else:
        await _serve_far(services, flow, destination)


async def serve_covered(services: Services, flow: Flow) -> None:
    """Serve a container's connection: what is near it reaches by itself, and not from here."""
    flow.container = flow.table.container_of(flow.client)
    destination = services.original_destination(flow.client)
    flow.destination = destination
    if destination is None or services.nearness.is_gate(destination):
        raise DroppedError("opaque", "a connection to the gate itself")
    if services.nearness.contains(destination.address):
        raise DroppedError("near", "a container's connection to this machine")
    if services.judge.restricts:
        await _serve_far(services, flow, destination)
    else:
        await _serve_unrestricted(services, flow, destination)


async def serve_explicit(services: Services, flow: Flow) -> None:
    """Serve a client of the explicit proxy."""
    peer = flow.client.getpeername()[0]
    if peer not in services.explicit_clients:
        raise DroppedError("connect", f"{plain(peer)} may not use the explicit proxy")
    connection = Connection(services, flow, Role.EXPLICIT, 0)
    peeker = Peeker(flow.client)
    peeker.look()
    silence = services.engine.loop.time() + limits.DECISION_TIME
    opening = await connection.read_opening(peeker, silence)
    if opening is None:
        raise DroppedError("opaque", "the client said nothing")
    await connection.carry_out(connection.decide(opening), peeker)


async def _serve_unrestricted(services: Services, flow: Flow, destination: Destination) -> None:
    flow.unrestricted = True
    connection = Connection(services, flow, Role.NEAR, destination.port)
    connection.join(await services.dial_address(destination)).start()


async def _serve_near(services: Services, flow: Flow, destination: Destination) -> None:
    """Joined at once, since a service may speak first; still, a proxy opens nothing."""
    flow.allow("near")
    connection = Connection(services, flow, Role.NEAR, destination.port)
    relay = connection.join(await services.dial_address(destination))
    connection.guard(relay)
    relay.start()


async def _serve_far(services: Services, flow: Flow, destination: Destination) -> None:
    connection = Connection(services, flow, Role.FAR, destination.port)
    connection.address = destination.address
    peeker = Peeker(flow.client)
    peeker.look()
    now = services.engine.loop.time()
    opening = await connection.read_opening(peeker, now + limits.SILENCE)
    ground = _ground_by_address(services, destination) if opening is None else None
    if opening is None and ground is None:
        opening = await connection.read_opening(peeker, now + limits.SILENCE_REFUSED)
    if ground is None:
        action = connection.decide(GONE if opening is None else opening)
        if action is BY_ADDRESS:
            ground = _ground_by_address(services, destination)
            action = connection.unless_recorded(NO_GROUND)
        if ground is None:
            await connection.carry_out(action, peeker)
            return
    await _join_by_address(services, connection, destination, ground)


async def _join_by_address(
    services: Services, connection: Connection, destination: Destination, ground: Ruling
) -> None:
    """The address was given for an allowed name, and no other is told: that is the name."""
    connection.flow.allow("opaque", ground)
    if services.upstreams.parent_for(ground.name) is not None:
        upstream = await services.upstreams.dial(ground.name, ground.port)
        connection.role, connection.base = Role.TUNNEL, ground
    else:
        upstream = await services.dial_address(destination)
        connection.role = Role.GIVEN
    relay = connection.join(upstream)
    connection.guard(relay)
    relay.start()


def _ground_by_address(services: Services, destination: Destination) -> Ruling | None:
    """An allowed name for which our resolver gave this address, within its life and grace."""
    names = sorted(services.resolver.gave(destination.address))
    rulings = [rule(services.judge, name, destination.port) for name in names]
    allowed = [ruling for ruling in rulings if ruling.allowed]
    return min(allowed, key=lambda ruling: ruling.would_deny, default=None)
