"""From an upstream's reply to what a client may be told.

Kept are the CNAMEs that lead from the name asked to the last one, that one's records of the
type asked, and for a negative answer the SOA it is measured by. Everything else an upstream
adds is not ours to vouch for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ramnet.gate.resolver.addresses import AddressRules
from ramnet.wire.dns import (
    QTYPE,
    RCODE,
    Answer,
    Record,
    Reply,
    build_answer,
    parent_names,
    without_parameters,
)
from ramnet.wire.dns.codes import EDE_BLOCKED
from ramnet.wire.dns.svcb import ECH, IPV4_HINT, IPV6_HINT

CHAIN_LIMIT: Final = 16
"""CNAMEs from one name to its address; more is a mistake or an attack."""
_ADDRESS_TYPES: Final = (QTYPE.A, QTYPE.AAAA)
_SERVICE_TYPES: Final = (QTYPE.SVCB, QTYPE.HTTPS)
_UNWANTED: Final = frozenset((ECH, IPV4_HINT, IPV6_HINT))
"""With ECH the proxy could not read the name; hints are addresses past our own rules."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What of one reply belongs to the question."""

    rcode: int
    chain: tuple[Record, ...]
    last: bytes
    """The name at the end of the chain."""
    records: tuple[Record, ...]
    soa: Record | None

    @property
    def unfinished(self) -> bool:
        """A CNAME was given, and neither its target's records nor that it has none."""
        return bool(self.chain) and not self.records and not self.soa and not self.rcode

    def after(self, chain: Sequence[Record]) -> "Findings":
        """These findings are on the target at the end of ``chain``."""
        return Findings(self.rcode, (*chain, *self.chain), self.last, self.records, self.soa)


def find(reply: Reply, name: bytes, qtype: int) -> Findings:
    """Follow ``name`` through the reply."""
    aliases: dict[bytes, Record] = {}
    for record in reply.answers:
        if record.type == QTYPE.CNAME:
            aliases.setdefault(record.owner, record)
    chain: list[Record] = []
    while not (records := _records_of(reply, name, qtype)) and name in aliases:
        if len(chain) == CHAIN_LIMIT:
            return Findings(RCODE.SERVFAIL, (), name, (), None)
        chain.append(aliases[name])
        name = aliases[name].data.lower()
    if records:
        return Findings(0, tuple(chain), name, records, None)
    above = set(parent_names(name))
    soas = (r for r in reply.authorities if r.type == QTYPE.SOA and r.owner in above)
    return Findings(reply.rcode, tuple(chain), name, records, next(soas, None))


def _records_of(reply: Reply, name: bytes, qtype: int) -> tuple[Record, ...]:
    found = (r for r in reply.answers if r.owner == name and r.type == qtype)
    return tuple(dict.fromkeys(found))


def _without_hints(records: Sequence[Record]) -> list[Record]:
    kept = []
    for record in records:
        data = without_parameters(record.data, _UNWANTED)
        if isinstance(data, bytes):
            kept.append(record._replace(data=data))
    return kept


def _negative(name: bytes, found: Findings) -> Answer:
    """RFC 2308 section 5: kept for the lesser of the SOA's life and its minimum."""
    if found.soa is None:
        return build_answer(name, found.chain, rcode=found.rcode, ttl=0)
    life = min(found.soa.ttl, int.from_bytes(found.soa.data[-4:]))
    soa = found.soa._replace(ttl=life)
    return build_answer(name, found.chain, [soa], rcode=found.rcode)


def assemble(
    name: bytes, qtype: int, found: Findings, rules: AddressRules, *, local: bool
) -> Answer:
    """The answer to a question for ``name``; ``error`` is set where it had to be emptied."""
    if not found.records:
        return _negative(name, found)
    records: Sequence[Record] = found.records
    if qtype in _SERVICE_TYPES:
        records = _without_hints(records)
    if qtype not in _ADDRESS_TYPES:
        return build_answer(name, (*found.chain, *records) if records else ())
    reasons = {record: rules.unfit(record.data, local=local) for record in records}
    fit = [record for record, reason in reasons.items() if reason is None]
    if fit:
        return build_answer(name, (*found.chain, *fit))
    why = ", ".join(sorted({reason for reason in reasons.values() if reason}))
    life = min(record.ttl for record in records)
    emptied = build_answer(name, (), ttl=min(life, 60))
    return emptied.explained(EDE_BLOCKED, f"withheld, every address is unfit: {why} (ramnet)")
