"""One connection's decisions carried out: look, decide, dial, join, answer.

``decision`` and ``conversation`` say what to do; nothing here decides.
"""

import socket
from collections.abc import Callable
from functools import partial

from ramnet.gate.denial.answer import ESTABLISHED, http_answer, refusal
from ramnet.gate.proxy import limits
from ramnet.gate.proxy.conversation import Forward
from ramnet.gate.proxy.decision import (
    Action,
    Connect,
    Converse,
    DenyHttp,
    DenyTls,
    Drop,
    Kind,
    Pass,
    Proxied,
    ProxiedSocks,
    Role,
    WouldDeny,
    decide_opening,
    unless_recorded,
)
from ramnet.gate.proxy.destination import Destination
from ramnet.gate.proxy.dial import DialError, addresses_of
from ramnet.gate.proxy.flow import Flow
from ramnet.gate.proxy.opening import Opening, read_opening
from ramnet.gate.proxy.redirects import redirect_of
from ramnet.gate.proxy.relay import Relay
from ramnet.gate.proxy.requests import HttpRequests
from ramnet.gate.proxy.ruling import Ruling, rule
from ramnet.gate.proxy.services import DroppedError, Services
from ramnet.gate.proxy.sockets import Peeker, linger, send_all, take
from ramnet.gate.proxy.socks import SocksError, SocksServer
from ramnet.wire.http import RequestHead, forward_head
from ramnet.wire.result import Absent, NeedMore
from ramnet.wire.socks import Reply, Socks4Request, Socks5Greeting


class Connection:
    """A flow in its role, until nothing more is to be decided."""

    __slots__ = ("address", "base", "flow", "port", "role", "services")

    def __init__(self, services: Services, flow: Flow, role: Role, port: int) -> None:
        self.services, self.flow = services, flow
        self.role, self.port = role, port
        self.base: Ruling | None = None
        """What the tunnel was allowed for."""
        self.address: str | None = None
        """The client's own choice of an address."""

    # Looking and deciding.

    async def read_opening(self, peeker: Peeker, silence: float) -> Opening | None:
        """What the client begins with; None when it said nothing until ``silence``.

        Both that and the limit for one that has begun are on the loop's clock.
        """
        deadline = self.services.engine.loop.time() + limits.DECISION_TIME
        while True:
            opening = read_opening(peeker.data, ended=peeker.ended)
            if not isinstance(opening, NeedMore):
                return opening
            begun = bool(peeker.data)
            if not await peeker.more(opening.total, deadline if begun else silence):
                if begun or peeker.data:
                    raise DroppedError("opaque", "the client's first words came too slowly")
                return None

    def guard(self, relay: Relay) -> None:
        """Look at the client's first bytes whenever they come, before any passes up."""
        relay.guard(lambda: self.services.begin(self.flow, self._inspect()))

    async def _inspect(self) -> None:
        peeker = Peeker(self.flow.client)
        peeker.look()
        silence = self.services.engine.loop.time() + limits.DECISION_TIME
        opening = await self.read_opening(peeker, silence)
        if opening is not None:
            await self.carry_out(self.decide(opening), peeker)

    def decide(self, opening: Opening) -> Action:
        """The table's answer for this connection."""
        return decide_opening(opening, self.role, self.services.judge, self.port)

    async def carry_out(self, action: Action, peeker: Peeker) -> None:
        """Do it."""
        match action:
            case Pass():
                self._pass_all()
            case Connect():
                await self._connect(action)
            case Converse():
                await HttpRequests(self).serve(peeker)
            case Proxied():
                await self._serve_proxied(action.head)
            case ProxiedSocks():
                await self._serve_socks(action.request)
            case DenyTls():
                await self._deny_tls(action.ruling)
            case DenyHttp():
                await self.answer_400(action.words)
            case Drop():
                raise DroppedError(action.kind, action.reason)
            case WouldDeny():
                await self._pass_recorded(action)

    def unless_recorded(self, action: Action) -> Action:
        """``action``, or that it passes where the policy says ``enforce = false``."""
        return unless_recorded(action, self.role, self.services.judge)

    async def _pass_recorded(self, action: WouldDeny) -> None:
        self.flow.unrestricted = True
        self.flow.would_deny(action.kind, None, action.reason)
        if self.flow.relay is not None:
            self.flow.relay.pass_up()
        elif self.flow.destination is not None:
            self.join(await self.services.dial_address(self.flow.destination)).start()

    # Joining.

    def join(self, upstream: socket.socket) -> Relay:
        """A relay to ``upstream``; to be started before anything is awaited."""
        services = self.services
        relay = Relay(
            services.engine, services.pipes, self.flow.client, upstream, self.flow.relayed
        )
        self.flow.relay, self.flow.handed_over = relay, True
        self.flow.joined()
        return relay

    async def relay_to(self, ruling: Ruling) -> Relay:
        """The relay to the addresses of ``ruling``'s name: the one there is, where it leads
        there; else a new one, not yet started (see ``join``)."""
        relay = self.flow.relay
        if relay is not None and (ruling.would_deny or await self._leads_to(ruling)):
            return relay
        if relay is not None:
            self.take_back("another name than the one that is joined already")
        return self.join(await self._dial_named(ruling))

    async def _dial_named(self, ruling: Ruling) -> socket.socket:
        """Our own resolution of the name; with ``enforce = false`` what it would refuse or does
        not find goes where the client meant it."""
        services, meant = self.services, self._meant()
        if meant is not None and ruling.would_deny:
            return await services.dial_address(meant)
        try:
            return await services.upstreams.dial(
                ruling.name, ruling.port, self.address, near=self.flow.container is None
            )
        except DialError as error:
            if meant is None:
                raise
            self.flow.unrestricted = True
            self.flow.would_deny(self.flow.kind, ruling, str(error))
            return await services.dial_address(meant)

    def _meant(self) -> Destination | None:
        """Where to go without a name of ours; None where that is nowhere, or not to be."""
        meant = self.flow.destination
        if self.role is not Role.FAR or meant is None or self.services.judge.enforces:
            return None
        return None if self.services.nearness.is_sinkhole(meant.address) else meant

    async def _leads_to(self, ruling: Ruling) -> bool:
        if self.role is Role.GIVEN:
            return self.address in await addresses_of(self.services.resolver, ruling.name)
        return self.role is Role.NEAR or (self.base is not None and self.base.name == ruling.name)

    def take_back(self, reason: str) -> None:
        """Undo the relay, so that the client can be answered or joined elsewhere."""
        relay = self.flow.relay
        if relay is None:
            return
        if relay.down.moved or relay.up.moved:
            raise DroppedError(self.flow.kind, reason)
        relay.take_client()
        self.flow.relay, self.flow.handed_over = None, False

    def _pass_all(self) -> None:
        if self.flow.relay is not None:
            self.flow.relay.pass_all_up()

    async def _connect(self, action: Connect) -> None:
        self.flow.allow(action.kind, action.ruling)
        before = self.flow.relay
        relay = await self.relay_to(action.ruling)
        if relay is before:
            relay.pass_all_up()
        else:
            relay.start_with_words()

    # Requests that were meant for a proxy.

    async def _serve_proxied(self, head: RequestHead) -> None:
        self.take_back("a proxy request after the server has spoken")
        assert not isinstance(head.host, Absent)
        if head.form == "authority":
            take(self.flow.client, head.length)
            ruling = rule(self.services.judge, head.host, head.port or 0)
            await self._serve_connect(ruling)
        elif head.scheme == "https":
            await self.answer_400("Use CONNECT for https (ramnet)")
        else:
            await self._serve_absolute(head)

    async def _serve_connect(self, ruling: Ruling) -> None:
        if not ruling.allowed:
            await self.deny_http("connect", ruling, None)
            return
        self.flow.allow("connect", ruling)
        try:
            upstream = await self._dial(ruling)
        except DialError as error:
            await self._answer_502(error)
            raise
        await self._open_tunnel(ruling, upstream, ESTABLISHED)

    async def _dial(self, ruling: Ruling) -> socket.socket:
        near = self.flow.container is None
        return await self.services.upstreams.dial(ruling.name, ruling.port, near=near)

    async def _open_tunnel(self, ruling: Ruling, upstream: socket.socket, answer: bytes) -> None:
        try:
            await send_all(self.flow.client, answer, limits.ANSWER_TIME)
        except BaseException:
            upstream.close()
            raise
        relay = self.join(upstream)
        tunnel = Connection(self.services, self.flow, Role.TUNNEL, ruling.port)
        tunnel.base = ruling
        tunnel.guard(relay)
        relay.start()

    async def _serve_absolute(self, head: RequestHead) -> None:
        assert not isinstance(head.host, Absent)
        rulings = [rule(self.services.judge, head.host, head.port or 80)]
        if not isinstance(head.host_header, Absent):
            host, port = head.host_header
            rulings.append(rule(self.services.judge, host, port or 80))
        for ruling in rulings:
            if not ruling.allowed:
                await self.deny_http("http", ruling, head)
                return
        self.flow.allow("http", *reversed(rulings))
        try:
            upstream, sent = await self._dial_absolute(head, rulings[0])
        except DialError as error:
            await self._answer_502(error)
            raise
        relay = self.join(upstream)
        relay.ends_with_down = True
        forward = Forward(rulings[0], sent, head.length, head.body, last=True)
        await HttpRequests(self).forward(relay, forward)

    async def _dial_absolute(
        self, head: RequestHead, ruling: Ruling
    ) -> tuple[socket.socket, bytes]:
        parent = self.services.upstreams.parent_for(ruling.name)
        if parent is None:
            return await self._dial(ruling), forward_head(head)
        # Many parents refuse a CONNECT to port 80, so the request itself goes to it.
        return await parent.open(), forward_head(head, form="absolute", extra=parent.extra)

    async def _serve_socks(self, first: Socks4Request | Socks5Greeting) -> None:
        self.take_back("a SOCKS request after the server has spoken")
        server = SocksServer(self.flow.client)
        try:
            ruling = rule(self.services.judge, *await server.negotiate(first))
        except SocksError as error:
            raise DroppedError("socks", str(error)) from None
        if not ruling.allowed:
            self.flow.refuse("socks", ruling)
            await server.answer(Reply.NOT_ALLOWED)
            await linger(self.flow.client)
            return
        self.flow.allow("socks", ruling)
        try:
            upstream = await self._dial(ruling)
        except DialError:
            await server.answer(Reply.HOST_UNREACHABLE)
            await linger(self.flow.client)
            raise
        await self._open_tunnel(ruling, upstream, server.success)

    # Answers of the gate's own.

    async def _deny_tls(self, ruling: Ruling) -> None:
        self.flow.refuse("tls", ruling)
        self.take_back("a refused name after the server has spoken")
        proper = ruling.name if ruling.reason is None else None
        self.flow.handed_over = True

        def answer(head: RequestHead | None) -> bytes:
            self._tell_redirect(ruling, head)
            return self._refusal(ruling)(head)

        await self.services.tls_denial.refuse(self.flow.client, proper, answer)

    async def deny_http(self, kind: Kind, ruling: Ruling, head: RequestHead | None) -> None:
        """Answer ``head`` with the policy's sentence; None for CONNECT."""
        self.flow.refuse(kind, ruling)
        self._tell_redirect(ruling, head)
        await self._answer(self._refusal(ruling)(head))

    def _tell_redirect(self, ruling: Ruling, head: RequestHead | None) -> None:
        if ruling.reason is None:
            self.flow.refused_after(ruling, redirect_of(self.services.judge, head))

    def _refusal(self, ruling: Ruling) -> Callable[[RequestHead | None], bytes]:
        judge, host = self.services.judge, ruling.name
        return partial(refusal, judge.sentence(host), judge.sentence(host, ascii=True))

    async def answer_400(self, words: str) -> None:
        """Answer 400 with words about the request."""
        self.flow.refuse("http", None, words)
        await self._answer(http_answer(400, words, words))

    async def _answer_502(self, error: DialError) -> None:
        words = f"{error} (ramnet)"
        await self._answer(http_answer(502, words, words))

    async def _answer(self, data: bytes) -> None:
        self.take_back("refused after the server has spoken")
        await send_all(self.flow.client, data, limits.ANSWER_TIME)
        await linger(self.flow.client)
