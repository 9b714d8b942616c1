"""One client message in, one reply out: what UDP and TCP have in common."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ramnet.audit import VERDICTS, Verdict
from ramnet.gate.histogram import Histogram
from ramnet.gate.resolver.cache import AnswerKey, CachedAnswer
from ramnet.gate.resolver.lookup import Lookups
from ramnet.gate.resolver.loops import LoopProbes
from ramnet.gate.resolver.memory import GivenAddresses
from ramnet.gate.resolver.report import Reporter
from ramnet.gate.resolver.rulings import Ruling, Rulings
from ramnet.wire.dns import (
    QTYPE,
    RCODE,
    Answer,
    Header,
    Question,
    display,
    empty_answer,
    error_message,
    read_header,
    read_question,
    render,
)
from ramnet.wire.dns.codes import CLASS_IN
from ramnet.wire.result import Malformed

DATAGRAM_MOST: Final = 4096
"""Octets of one reply over UDP, whatever the client would take."""
STREAM_MOST: Final = 65535
_REFUSAL_FRESH: Final = 30.0
"""Seconds until a refusal is decided, and perhaps reported, anew."""
_REFUSED_TYPES: Final = (
    0,
    QTYPE.OPT,
    QTYPE.TKEY,
    QTYPE.TSIG,
    QTYPE.IXFR,
    QTYPE.AXFR,
    QTYPE.MAILB,
    QTYPE.MAILA,
)

_log = logging.getLogger(__name__)

Send = Callable[[Question | None, bytes, float, Verdict], None]
"""Question, reply, the seconds for which the same octets may be answered so again, and as what
each of them counts."""


@dataclass
class DeskCounters:
    """Since the start."""

    queries: int = 0
    cached: int = 0
    malformed: int = 0
    dropped: int = 0
    decisions: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    """Answers by verdict; ``info`` is what was no decision about a name of the policy's."""


class Desk:
    """Answers clients."""

    def __init__(
        self,
        rulings: Rulings,
        lookups: Lookups,
        memory: GivenAddresses,
        probes: LoopProbes,
        reporter: Reporter,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._rulings, self._lookups, self._memory = rulings, lookups, memory
        self._probes, self._reporter = probes, reporter
        self.counters = DeskCounters()
        self.latency = Histogram()
        """Seconds from a question's arrival to its answer; the servers observe."""

    def handle(self, data: bytes, most: int, send: Send) -> bool:
        """Answer one message, now or later; False where it is no query and gets no answer.

        ``most``: octets that the way back carries; over UDP the client's own limit holds too.
        """
        self.counters.queries += 1
        header = read_header(data)
        if isinstance(header, Malformed) or header.response:
            self.counters.dropped += 1
            return False
        question = read_question(data)
        rcode = self._fault(header, question)
        if rcode or isinstance(question, Malformed):
            self.counters.malformed += 1
            send(None, error_message(header, rcode or RCODE.FORMERR, question), 0.0, "info")
            return True
        limit = question.limit(most) if most < STREAM_MOST else most
        try:
            self._answer(question, limit, send)
        except Exception:  # a mistake of ours: this question fails at once, the gate goes on
            _log.exception("answering failed")
            send(None, error_message(header, RCODE.SERVFAIL, question), 0.0, "info")
        return True

    @staticmethod
    def _fault(header: Header, question: Question | Malformed) -> int:
        if header.opcode:
            return RCODE.NOTIMP
        if isinstance(question, Malformed):
            return RCODE.FORMERR
        if question.version:
            return RCODE.BADVERS
        if question.qclass != CLASS_IN or question.qtype in _REFUSED_TYPES:
            return RCODE.REFUSED
        return RCODE.NOERROR

    def _answer(self, question: Question, limit: int, send: Send) -> None:
        if self._probes.arrived(question.name):
            send(None, render(question, empty_answer(RCODE.NXDOMAIN), limit=limit), 0.0, "info")
            return
        ruling = self._rulings.rule(question.name, question.qtype)
        if ruling.answer is None and question.qtype == QTYPE.ANY:
            ruling = ruling._replace(answer=empty_answer(ttl=1))  # RFC 8482 section 4.1
        if ruling.answer is None:
            self._forward(question, limit, send, ruling)
        else:
            self._report(question, ruling)
            self._tell(question, limit, send, ruling, CachedAnswer(ruling.answer, self._now()))

    def _now(self) -> float:
        return self._loop.time()

    def _forward(self, question: Question, limit: int, send: Send, ruling: Ruling) -> None:
        key = AnswerKey(question.name, question.qtype, ruling.local)
        cached = self._lookups.cache.get(key, self._now())
        if cached:
            self.counters.cached += 1
            if ruling.would_deny:
                self._report(question, ruling)
            self._tell(question, limit, send, ruling, cached)
            return

        policy = self._rulings.policy

        def came(cached: CachedAnswer) -> None:
            if self._rulings.policy is not policy:  # it was replaced meanwhile: decide again
                later = self._rulings.rule(question.name, question.qtype)
                if later.answer is not None or later.local != ruling.local:
                    self._answer(question, limit, send)
                    return
            self._report_resolution(question, ruling, cached.answer)
            self._tell(question, limit, send, ruling, cached)

        self._lookups.ask(key, came)

    def _tell(
        self, question: Question, limit: int, send: Send, ruling: Ruling, cached: CachedAnswer
    ) -> None:
        now, answer = self._now(), cached.answer
        age = int(now - cached.made)
        # Until its whole seconds change, and never beyond its life.
        fresh = min(cached.made + age + 1, cached.expires) - now
        if ruling.kind in ("refused", "search", "parent", "local"):
            fresh = _REFUSAL_FRESH
        elif ruling.kind != "container" and ruling.name and answer.addresses:
            self._memory.remember(ruling.name, answer.addresses, cached.expires)
        said = _said(ruling)
        self.counters.decisions[said] += 1
        send(question, render(question, answer, age=age, limit=limit), fresh, said)

    def _report(self, question: Question, ruling: Ruling) -> None:
        name = ruling.name or display(question.name)
        if ruling.kind == "refused" or ruling.would_deny:
            self._reporter.name(name, _said(ruling), ruling.entry)
        elif ruling.kind == "search":
            reason = "an allowed name with a search suffix: answered as not existing"
            self._reporter.name(name, "info", ruling.entry, reason)
        elif ruling.kind != "local":
            self._reporter.name(name, "allowed", ruling.entry)

    def _report_resolution(self, question: Question, ruling: Ruling, answer: Answer) -> None:
        name = ruling.name or display(question.name)
        if ruling.would_deny:
            self._report(question, ruling)
        elif ruling.kind == "container":
            self._reporter.name(name, "info", None, "not on the list; answered for containers")
        elif answer.error is None:
            self._reporter.name(name, "allowed", ruling.entry)
        elif answer.rcode == RCODE.SERVFAIL:
            reason = f"not resolved: {answer.error.text}"
            self._reporter.name(name, "allowed", ruling.entry, reason)
        else:
            self._reporter.name(name, "refused", ruling.entry, answer.error.text)


def _said(ruling: Ruling) -> Verdict:
    if ruling.would_deny:
        return "would-deny"
    if ruling.kind in ("search", "container"):
        return "info"
    return "refused" if ruling.kind == "refused" else "allowed"
