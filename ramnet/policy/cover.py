"""Which entries of a document add nothing, found with the index that is to be used.

An entry is covered where one other entry says the same of every name and port that it
matches. Patterns with a wildcard inside cover only host names: whether one such pattern
holds another is not decided here.
"""

from collections.abc import Iterator

from ramnet.policy.decision import Policy, kinds_at, matches_glob
from ramnet.policy.document import Document
from ramnet.policy.entry import Entry
from ramnet.policy.index import compile_parts
from ramnet.policy.layout import DENIED, LOCAL
from ramnet.policy.pattern import Kind
from ramnet.policy.reader import GLOBS, Reader, Record

# A name below the base, for the entries above it; no administrator's name is like it.
_BELOW = "_._."
_PLACEHOLDER = {Kind.EXACT: "", Kind.DOMAIN: "", Kind.ONE: "_.", Kind.BELOW: _BELOW}


class Cover:
    """Compares each entry of a document with all others."""

    def __init__(self, document: Document) -> None:
        blob = b"".join(compile_parts(document))
        self.policy = Policy(blob)
        self._reader = Reader(blob)
        self._first: dict[tuple[str, bool, bool], int] = {}

    def of(self, index: int, entry: Entry) -> Iterator[tuple[str, str]]:
        """Yield code and text of what is superfluous about ``entries[index]``, at most one."""
        if entry.kind == Kind.ADDRESS:
            text = f"{entry.base} is an address, or ends like one; nothing is decided by address"
            yield "never-matches", text
            return
        first = self._first.setdefault((entry.text, entry.allowed, entry.local), index)
        if first != index:
            yield "duplicate", f"{entry.text} stands twice"
            return
        for record in self._covering(entry):
            denied = bool(record.flags & DENIED)
            other = self._reader.text(record)
            if denied and entry.allowed:
                yield "overruled", f"{entry.text} is never allowed, since {other} denies it"
                return
            if denied is not entry.allowed and not (entry.local and not record.flags & LOCAL):
                yield "covered", f"{entry.text} adds nothing to {other}"
                return

    def _covering(self, entry: Entry) -> list[Record]:
        """Return the other entries that match all that ``entry`` matches, denials first."""
        flags = (0 if entry.allowed else DENIED) | (LOCAL if entry.local else 0)
        itself = (entry.port, int(entry.kind), flags, entry.base, entry.glob)
        name = _PLACEHOLDER.get(entry.kind, _BELOW) + entry.base
        found = [
            record
            for offset, distance in self._reader.candidates(name)
            for record in self._reader.records(offset)
            if record.port in (0, entry.port)
            and record[2:] != itself
            and _covers(record, distance, entry)
        ]
        return sorted(found, key=lambda record: (not record.flags & DENIED, record.offset))


def _covers(record: Record, distance: int, entry: Entry) -> bool:
    """Whether ``record``, found for the name that stands for ``entry``, matches all of it."""
    if entry.kind == Kind.EXACT:
        return (
            matches_glob(record.glob, entry.base)
            if distance == GLOBS
            else (record.kind in kinds_at(distance))
        )
    if distance == GLOBS:
        return False
    if entry.kind == Kind.DOMAIN:
        # From above only what has any depth; at the same base only a domain.
        return record.kind == Kind.DOMAIN or (distance > 0 and record.kind == Kind.BELOW)
    if entry.kind == Kind.ONE:
        return distance > 0 and record.kind in kinds_at(distance)
    return distance > 1 and record.kind in kinds_at(distance)
