"""What is done about a name: the policy's verdict, turned into an answer or a permission to ask.

Refused names get the sinkhole, an address of nobody, so that the client comes to the proxy and
can be told why. Loopback is never that address: dockerd speaks to a registry on loopback
without verifying TLS.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from ramnet import config
from ramnet.gate.judge import Judge
from ramnet.gate.resolver.addresses import AddressRules, pack
from ramnet.gate.spec import GateSpec
from ramnet.policy import InvalidNameError, Outcome, Policy, Verdict, normalise
from ramnet.wire.dns import (
    QTYPE,
    RCODE,
    Answer,
    address_answer,
    display,
    empty_answer,
    to_text,
)
from ramnet.wire.dns.codes import EDE_BLOCKED

REFUSED_TTL: Final = 5
"""Seconds; a name that the next policy allows is not to stay refused in a client's cache."""
PINNED_TTL: Final = 60

_LOCALHOST: Final = "localhost"
_LOOPBACKS: Final = (pack("127.0.0.1"), pack("::1"))


class Ruling(NamedTuple):
    """What is done about one name and type."""

    kind: Literal["forward", "refused", "search", "local", "pinned", "parent", "container"]
    answer: Answer | None
    """None: to be asked of an upstream; allowed, or perhaps asked for a container."""
    name: str | None = None
    """Normalised; None where it has no such form."""
    entry: str | None = None
    """The policy entry that decided."""
    local: bool = False
    """Addresses of this machine may be given for it."""
    would_deny: bool = False
    """Allowed for no other reason than that the policy says ``enforce = false``."""


class Rulings:
    """Decides names for one scope."""

    def __init__(self, judge: Judge, spec: GateSpec) -> None:
        self._judge = judge
        self._proxy = spec.proxy
        self._sinkholes = [pack(text) for text in (spec.sinkhole4, spec.sinkhole6) if text]
        self._pins = {
            normalise(name): tuple(pack(address) for address in addresses)
            for name, addresses in spec.resolver.hosts.items()
        }
        self._rules = AddressRules((), (spec.sinkhole4, spec.sinkhole6))
        self._search: tuple[str, ...] = ()
        self._answers_containers = spec.resolver.containers_dns == "allow"

    def renew(self, rules: AddressRules, search: Iterable[str]) -> None:
        """The machine's addresses or its search list have changed."""
        self._rules, self._search = rules, tuple(f".{suffix}" for suffix in search)

    @property
    def policy(self) -> Policy:
        """What the rulings are made by; another object after every change."""
        return self._judge.policy

    def rule(self, wire_name: bytes, qtype: int) -> Ruling:
        """Decide a question for ``wire_name``."""
        name = _normal(wire_name)
        if not self._judge.restricts and not (name and _is_localhost(name)):
            return Ruling("forward", None, name, local=True)
        if name is None and not self._judge.enforces:
            return Ruling("forward", None, local=True, would_deny=True)
        if name is None:
            why = self._judge.sentence(display(wire_name))
            refusal = empty_answer(RCODE.NXDOMAIN, REFUSED_TTL).explained(EDE_BLOCKED, why)
            return Ruling("refused", refusal)
        verdict = self._judge.decide(name)
        if verdict.outcome is not Outcome.DENIED and _is_localhost(name):
            return Ruling("local", self._addresses(wire_name, qtype, _LOOPBACKS), name)
        if verdict.allowed:
            return self._allowed(wire_name, qtype, name, verdict)
        return self._refused(wire_name, qtype, name, verdict)

    def pinned(self, name: str, *, local: bool) -> tuple[bytes, ...] | None:
        """Addresses known without asking (the administrator's, localhost's), the unfit left out."""
        pins = self._pins.get(name, _LOOPBACKS if _is_localhost(name) else None)
        if pins is None:
            return None
        return tuple(a for a in pins if self._rules.unfit(a, local=local) is None)

    def _allowed(self, wire_name: bytes, qtype: int, name: str, verdict: Verdict) -> Ruling:
        local = verdict.local or not self._judge.enforces
        if self._proxy.parent and not _is_direct(name, self._proxy):
            # The parent resolves it, and our answer only has to bring the client to us.
            answer = self._addresses(wire_name, qtype, self._sinkholes)
            return Ruling("parent", answer, name, verdict.entry)
        pins = self.pinned(name, local=local)
        if pins is not None:
            answer = self._addresses(wire_name, qtype, pins, PINNED_TTL)
            return Ruling("pinned", answer, name, verdict.entry, local)
        return Ruling("forward", None, name, verdict.entry, local)

    def _refused(self, wire_name: bytes, qtype: int, name: str, verdict: Verdict) -> Ruling:
        why, enforces = self._judge.sentence(name), self._judge.enforces
        if not enforces and self._is_searched(name):
            return self._allowed(wire_name, qtype, name, verdict)
        if self._is_searched(name):
            answer = empty_answer(RCODE.NXDOMAIN, REFUSED_TTL)
            return Ruling("search", answer.explained(EDE_BLOCKED, why), name, verdict.entry)
        if self._answers_containers and verdict.outcome is not Outcome.DENIED:
            return Ruling("container", None, name)
        if not enforces:
            return self._allowed(wire_name, qtype, name, verdict)._replace(would_deny=True)
        answer = self._addresses(wire_name, qtype, self._sinkholes)
        return Ruling("refused", answer.explained(EDE_BLOCKED, why), name, verdict.entry)

    def _is_searched(self, name: str) -> bool:
        """An allowed name with the search list behind it: the client shall try without."""
        stems = (name.removesuffix(suffix) for suffix in self._search if name.endswith(suffix))
        return any(_is_localhost(stem) or self._judge.decide(stem).allowed for stem in stems)

    @staticmethod
    def _addresses(
        wire_name: bytes, qtype: int, addresses: Iterable[bytes], ttl: int = REFUSED_TTL
    ) -> Answer:
        if qtype not in (QTYPE.A, QTYPE.AAAA):
            return empty_answer(ttl=ttl)
        return address_answer(wire_name, qtype, tuple(addresses), ttl)


def _normal(wire_name: bytes) -> str | None:
    """The name as the policy knows it, if it is one and our question would be for the same."""
    text = to_text(wire_name)
    try:
        name = normalise(text) if text else None
    except InvalidNameError:
        return None
    return name if name == text else None


def _is_localhost(name: str) -> bool:
    """RFC 6761 section 6.3; the one name that loopback is ever given for without asking."""
    return name == _LOCALHOST or name.endswith(f".{_LOCALHOST}")


def _is_direct(name: str, proxy: config.Proxy) -> bool:
    """Whether the gate dials it itself although there is a parent proxy."""
    return any(
        name.endswith(direct) if direct.startswith(".") else name == direct
        for direct in map(str.lower, proxy.direct)
    )
