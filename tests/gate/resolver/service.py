"""A real resolver on loopback ports, in a thread with a clock that the test moves on."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, Self, TypeVar

import dns.message
import dns.query

from ramnet import config
from ramnet.audit import Event
from ramnet.gate.judge import Judge
from ramnet.gate.resolver import Resolver
from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.policy import Policy, compile_policy, read_document

SINKHOLE4, SINKHOLE6 = "192.0.0.8", "100::8"
OWN = ("127.0.0.1", "::1", "192.0.2.10", "2001:db8::10")
POLICY = """
organization = "acme"
contact = "ask it"
docker_hub = false
[[registry]]
domain = "allowed.example"
[[registry]]
host = "ghcr.io"
[[registry]]
host = "near.example"
local = true
[[registry]]
host = "denied.allowed.example"
allowed = false
"""

T = TypeVar("T")


def make_policy(text: str = POLICY) -> Policy:
    return Policy(compile_policy(read_document(text.encode(), source="test")))


class Events:
    """An audit log in memory."""

    def __init__(self) -> None:
        self.written: list[Event] = []

    def write(self, event: Event) -> None:
        self.written.append(event)

    def of(self, verdict: str) -> list[Event]:
        return [event for event in self.written if event.verdict == verdict]


class MovableLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward; its timers follow."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def bound(kind: socket.SocketKind, family: int = socket.AF_INET, port: int = 0) -> socket.socket:
    """A socket on loopback as the privileged side makes it."""
    made = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            made.listen(512)
    except OSError:
        made.close()
        raise
    return made


def same_port(*wanted: tuple[socket.SocketKind, int]) -> list[socket.socket]:
    """One socket for each kind and family, all on a port that is free for all of them."""
    for _ in range(100):
        made: list[socket.socket] = []
        try:
            for kind, family in wanted:
                made.append(bound(kind, family, made[0].getsockname()[1] if made else 0))
        except OSError:
            for each in made:
                each.close()
        else:
            return made
    raise OSError("no port is free for all of them")


class Service:
    """Starts when made; a context that stops it."""

    def __init__(
        self,
        upstream: Sequence[str] = (),
        *,
        policy: str = POLICY,
        resolv_conf: str = "",
        hosts: Mapping[str, list[str]] | None = None,
        zones: Mapping[str, list[str]] | None = None,
        proxy: config.Proxy | None = None,
        sinkhole6: str | None = SINKHOLE6,
        own: Sequence[str] = OWN,
        with_surroundings: bool = True,
        containers_dns: Literal["restrict", "allow"] = "restrict",
    ) -> None:
        self.events = Events()
        self.judge = Judge(make_policy(policy))
        self.own = list(own)
        self.spec = GateSpec(
            scope="test",
            resolver=config.Resolver(
                upstream=list(upstream),
                hosts=dict(hosts or {}),
                zones=dict(zones or {}),
                containers_dns=containers_dns,
            ),
            proxy=proxy or config.Proxy(),
            denial=config.Denial(),
            sinkhole4=SINKHOLE4,
            sinkhole6=sinkhole6,
            event_log="unused",
            ca_certificate=None,
            ca_key=None,
        )
        self.port = 0
        self.loop = MovableLoop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        self.resolver = self.call(self._make)
        if with_surroundings:
            self.surround(resolv_conf)
        self.wait(self._start())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.call(self.resolver.close)
        self.wait(self._settle())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._ready.set)
        self.loop.run_forever()

    def _make(self) -> Resolver:
        return Resolver(self.judge, self.spec, self.events)

    async def _start(self) -> None:
        kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        families = (socket.AF_INET, socket.AF_INET6)
        listeners = same_port(*((kind, family) for kind in kinds for family in families))
        self.port = listeners[0].getsockname()[1]
        await self.resolver.start(listeners[:2], listeners[2:])

    @staticmethod
    async def _settle() -> None:
        """Let cancelled tasks end, so that none is destroyed while pending."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the resolver's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the resolver's loop."""

        async def run() -> T:
            return function(*arguments)

        return self.wait(run())

    def surround(self, resolv_conf: str = "", *addresses: str) -> None:
        """Tell the resolver of its surroundings."""
        surroundings = Surroundings(
            addresses=[*self.own, *addresses],
            networks={},
            resolv_conf=resolv_conf,
            gate_ports=[],
        )
        self.call(self.resolver.update_surroundings, surroundings)

    def put_in_force(self, policy: str) -> None:
        """Replace the policy."""
        self.call(self.judge.replace, make_policy(policy))

    def advance(self, seconds: float) -> None:
        """Put the clock forward and let what is due happen."""

        async def move() -> None:
            self.loop.ahead += seconds
            for _ in range(5):
                await asyncio.sleep(0)

        self.wait(move())

    def ask(
        self,
        name: str,
        rtype: str = "A",
        *,
        tcp: bool = False,
        edns: int | None = 1232,
        address: str = "127.0.0.1",
        timeout: float = 10,
    ) -> dns.message.Message:
        """One question as a client asks it."""
        query = dns.message.make_query(name, rtype)
        if edns is not None:
            query.use_edns(0, 0, edns)
        send = dns.query.tcp if tcp else dns.query.udp
        return send(query, address, port=self.port, timeout=timeout)

    def texts(self, name: str, rtype: str = "A", **options: Any) -> list[str]:
        """The record data of the answer section."""
        return answers(self.ask(name, rtype, **options))

    def status(self) -> dict[str, Any]:
        return self.call(self.resolver.status)

    def gave(self, address: str) -> frozenset[str]:
        return self.call(self.resolver.gave, address)


def answers(message: dns.message.Message) -> list[str]:
    """The data of every record in the answer section."""
    return [rdata.to_text() for rrset in message.answer for rdata in rrset]


def sentence(message: dns.message.Message) -> list[tuple[int, str | None]]:
    """Extended errors of an answer."""
    return [(int(option.code), option.text) for option in message.extended_errors()]
