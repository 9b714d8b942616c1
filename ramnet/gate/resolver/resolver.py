"""The resolver as the gate sees it: puts the parts together and follows what changes."""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ramnet.errors import ConfigError
from ramnet.gate.judge import Judge
from ramnet.gate.resolver.addresses import AddressRules, pack, unpack
from ramnet.gate.resolver.cache import AnswerKey, CachedAnswer
from ramnet.gate.resolver.desk import Desk
from ramnet.gate.resolver.errors import ResolutionError
from ramnet.gate.resolver.lookup import Lookups
from ramnet.gate.resolver.loops import LoopProbes
from ramnet.gate.resolver.memory import GivenAddresses
from ramnet.gate.resolver.report import EventWriter, Reporter
from ramnet.gate.resolver.rulings import PINNED_TTL, Rulings
from ramnet.gate.resolver.server_tcp import StreamServer
from ramnet.gate.resolver.server_udp import DatagramServer
from ramnet.gate.resolver.upstreams import Server
from ramnet.gate.resolver.zones import Zones
from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.wire.dns import QTYPE, RCODE, Answer, from_text, rcode_text
from ramnet.wire.resolv_conf import ResolvConf, parse_resolv_conf

_KNOWN_MOST = 4096
SECOND_FAMILY_WAIT = 0.05
"""Seconds for the other family's answer once one has addresses (RFC 8305 section 3)."""


class Resolution(NamedTuple):
    """Where a name is."""

    addresses: tuple[str, ...]
    """IPv4 first; never empty, and nothing that may not be dialled."""
    expires: float
    """In seconds of the event loop's clock."""


class Resolver:
    """Answers the scope's DNS and resolves for the proxy. Make it inside a running loop."""

    def __init__(self, judge: Judge, spec: GateSpec, log: EventWriter) -> None:
        """Raises ConfigError where a zone or a pinned name is no host name."""
        self._loop = asyncio.get_running_loop()
        self._judge, self._spec = judge, spec
        self._surroundings: Surroundings | None = None
        self._rules = AddressRules((), (spec.sinkhole4, spec.sinkhole6))
        self._search: tuple[str, ...] = ()
        self._zones = self._build_zones(ResolvConf(), ())
        self._memory = GivenAddresses()
        self._reporter = Reporter(spec.scope, log, self._loop.time)
        self._rulings = Rulings(judge, spec)
        self._lookups = Lookups(self._zones, self._rules)
        self._probes = LoopProbes(self._loop_found)
        self._desk = Desk(self._rulings, self._lookups, self._memory, self._probes, self._reporter)
        self._datagrams = DatagramServer(self._desk, for_any=spec.interception == "anyip")
        self._streams = StreamServer(self._desk)
        self._known: dict[str, Resolution] = {}
        judge.subscribe(self._datagrams.cache.clear)
        judge.subscribe(self._known.clear)

    async def start(
        self,
        udp: Sequence[socket.socket],
        tcp: Sequence[socket.socket],
        udp_on_any: Sequence[socket.socket] = (),
    ) -> None:
        """Serve these listeners; ``close`` closes them. ``udp_on_any``: bound to no address."""
        self._datagrams.start(udp, udp_on_any)
        await self._streams.start(tcp)
        self._probes.probe(self._zones.servers(), self._rules)

    def close(self) -> None:
        """Stop serving and asking."""
        self._datagrams.close()
        self._streams.close()
        self._lookups.close()
        self._probes.close()

    def update_surroundings(self, surroundings: Surroundings) -> None:
        """Follow the machine: own addresses, resolv.conf. Cheap where nothing has changed."""
        before, self._surroundings = self._surroundings, surroundings
        if before and (
            before.resolv_conf == surroundings.resolv_conf
            and set(before.addresses) == set(surroundings.addresses)
        ):
            return
        sinkholes = (self._spec.sinkhole4, self._spec.sinkhole6)
        resolv_conf = parse_resolv_conf(surroundings.resolv_conf)
        self._rules = AddressRules(surroundings.addresses, sinkholes)
        self._zones = self._build_zones(resolv_conf, self._zones.servers())
        self._search = tuple(resolv_conf.search)
        self._rulings.renew(self._rules, self._search)
        self._lookups.renew(self._zones, self._rules)
        self._memory.forget(self._rules.own)
        self._datagrams.cache.clear()
        self._known.clear()
        self._probes.probe(self._zones.servers(), self._rules)

    def gave(self, address: str) -> frozenset[str]:
        """The allowed names for which ``address`` was given, within its life plus grace.

        All names, where the policy says ``enforce = false``.
        """
        judge, names = self._judge, self._memory.names(pack(address), self._loop.time())
        return frozenset(n for n in names if not judge.enforces or judge.decide(n).allowed)

    async def resolve(self, name: str, *, local: bool | None = None) -> Resolution:
        """Where to dial ``name``, which is normalised and which the caller has decided on.

        ``local``: whether addresses of this machine are right (None: as the policy says).
        Raises ResolutionError where there is no address, within 5 s.
        """
        if local is None:
            local = self._may_be_local(name)
        pins = self._rulings.pinned(name, local=local)
        if pins is not None:
            return _resolution(name, pins, self._loop.time() + PINNED_TTL, "no pin is fit")
        return _joined(name, await self._ask_both(self._keys(name, local)))

    def known(self, name: str) -> Resolution | None:
        """What ``resolve`` would give without asking anybody; None where it has more to do.

        So it is for nearly every connection: its client has just asked for the name.
        """
        now = self._loop.time()
        known = self._known.get(name)
        if known is None or known.expires <= now:
            known = self._look_up(name, now)
            if known is not None:
                if len(self._known) >= _KNOWN_MOST:
                    self._known.clear()
                self._known[name] = known
        return known

    def _look_up(self, name: str, now: float) -> Resolution | None:
        local = self._may_be_local(name)
        if self._rulings.pinned(name, local=local) is not None:
            return None
        cache = self._lookups.cache
        answers = []
        for key in self._keys(name, local):
            if (cached := cache.get(key, now)) is None:
                return None
            answers.append(cached)
        return _joined(name, answers) if any(c.answer.addresses for c in answers) else None

    def status(self) -> dict[str, object]:
        """Counters, and each upstream's health, for ``ramnet status``."""
        desk, lookups = self._desk.counters, self._lookups
        return {
            "queries": desk.queries + self._datagrams.hits,
            "cache_hits": desk.cached + self._datagrams.hits,
            "refused": desk.decisions["refused"],
            "decisions": dict(desk.decisions),
            "latency": self._desk.latency.document(),
            "malformed": desk.malformed,
            "dropped": desk.dropped,
            "unsent": self._datagrams.unsent,
            "forwarded": lookups.counters.forwarded,
            "failures": lookups.counters.failures,
            "overflows": lookups.counters.overflows,
            "in_flight": lookups.in_flight,
            "answers": len(lookups.cache),
            "answer_octets": lookups.cache.octets,
            "datagrams": len(self._datagrams.cache.ready),
            "addresses_given": len(self._memory),
            "tcp_connections": self._streams.connections,
            "tcp_evicted": self._streams.evicted,
            "events_suppressed": self._reporter.suppressed,
            "upstreams": [server.status() for server in self._zones.servers()],
            "nameservers_skipped": self._zones.skipped,
            "search": list(self._search),
        }

    def _build_zones(self, resolv_conf: ResolvConf, known: Iterable[Server]) -> Zones:
        try:
            return Zones.build(self._spec.resolver, resolv_conf, self._rules, known)
        except ValueError as error:
            raise ConfigError(f"[resolver] zones: {error}") from error

    def _may_be_local(self, name: str) -> bool:
        return self._judge.decide(name).local or not self._judge.enforces

    def _keys(self, name: str, local: bool) -> list[AnswerKey]:
        """A, and AAAA where it may be of use."""
        wire_name = from_text(name)
        keys = [AnswerKey(wire_name, QTYPE.A, local)]
        if local or self._surroundings is None or self._rules.has_global_ipv6:
            keys.append(AnswerKey(wire_name, QTYPE.AAAA, local))
        return keys

    async def _ask_both(self, keys: Sequence[AnswerKey]) -> list[CachedAnswer]:
        """A and AAAA at once; a slow second family does not hold up the first."""
        tasks = [self._loop.create_task(self._lookups.answer(key)) for key in keys]
        try:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if pending:
                settled = any(_settles(task.result().answer) for task in done)
                await asyncio.wait(pending, timeout=SECOND_FAMILY_WAIT if settled else None)
            return [task.result() for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()

    def _loop_found(self, server: Server) -> None:
        self._reporter.service(f"upstream {server.endpoint.address} {server.unusable}")


def _joined(name: str, answers: Sequence[CachedAnswer]) -> Resolution:
    """Raises ResolutionError where they hold no address."""
    found = [address for cached in answers for address in cached.answer.addresses]
    expires = min((c.expires for c in answers if c.answer.addresses), default=0.0)
    return _resolution(name, found, expires, _reason(answers))


def _resolution(name: str, found: Iterable[bytes], expires: float, reason: str) -> Resolution:
    addresses = tuple(unpack(packed) for packed in dict.fromkeys(found))
    if not addresses:
        raise ResolutionError(f"{name} was not resolved: {reason}")
    return Resolution(addresses, expires)


def _settles(answer: Answer) -> bool:
    """Whether there are addresses, or there is no such name in either family."""
    return bool(answer.addresses) or answer.rcode == RCODE.NXDOMAIN


def _reason(answers: Sequence[CachedAnswer]) -> str:
    """Why there is no address, in the upstream's words or ours."""
    for cached in answers:
        if cached.answer.error:
            return cached.answer.error.text
        if cached.answer.rcode:
            return f"upstream says {rcode_text(cached.answer.rcode)}"
    return "it has no address"
