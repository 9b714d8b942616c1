"""Decide by name and port, straight from a compiled policy."""

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ramnet.policy.layout import AUDIT, DENIED, ENABLED, HAS_SOURCE, LOCAL
from ramnet.policy.name import ends_in_number
from ramnet.policy.pattern import Kind, glob_regex
from ramnet.policy.reader import GLOBS, Reader, Record, entry_text
from ramnet.policy.sentence import MAX_TEXT, fold, one_line

if TYPE_CHECKING:
    from mmap import mmap


class Outcome(Enum):
    """What the policy says of a name."""

    ALLOWED = "allowed"
    DENIED = "denied"  #: an entry says ``allowed = false``
    UNLISTED = "unlisted"  #: no entry matches


class Verdict(NamedTuple):
    """A decision, and the text of the entry that made it (None where none did).

    ``local``: an entry that allows the name has ``local = true``, so that it may lie
    on a loopback or link-local address.
    """

    outcome: Outcome
    entry: str | None = None
    local: bool = False

    @property
    def allowed(self) -> bool:
        """Whether to let it pass."""
        return self.outcome is Outcome.ALLOWED


class Tried(NamedTuple):
    """An entry that was found by a name, or a part of it, and held against the whole."""

    entry: str
    allows: bool
    """False for ``allowed = false``."""
    matches: bool
    """Whether it speaks of this name."""
    on_port: bool
    """Whether it speaks of this port."""


_ALLOWED: Final = Outcome.ALLOWED  # an enum's attribute costs 50 ns
_EXACT: Final = int(Kind.EXACT)
_UNLISTED: Final = Verdict(Outcome.UNLISTED)
_UNRESTRICTED: Final = Verdict(Outcome.ALLOWED, "enabled = false")
_EVERY_PORT: Final = 0
_PORTS: Final = 65535
# Which kinds match, by the number of labels a name has in front of the base: 0, 1, more.
_KINDS: Final = (
    frozenset({int(Kind.EXACT), int(Kind.DOMAIN)}),
    frozenset({int(Kind.ONE), int(Kind.BELOW), int(Kind.DOMAIN)}),
    frozenset({int(Kind.BELOW), int(Kind.DOMAIN)}),
)


class Policy:
    """A compiled policy in use: no object for an entry, only the blob.

    ``buffer`` is kept and must not change while the policy lives; a memory file should be
    sealed against shrinking before it is mapped.

    Raises:
        PolicyError: the buffer holds no compiled policy of this format. ``decide`` raises
            it too where the damage lies in what it reads; a caller refuses then.
    """

    def __init__(self, buffer: "bytes | bytearray | memoryview | mmap") -> None:
        self._reader = reader = Reader(buffer)
        self.version: int = reader.version
        self.organization: str = reader.organization
        self.contact: str = reader.contact
        self.digest: str = reader.digest.hex() if reader.flags & HAS_SOURCE else ""
        self.enabled: bool = bool(reader.flags & ENABLED)
        self.enforced: bool = not reader.flags & AUDIT
        """False for ``enforce = false``: verdicts are what they would be, and whoever asked for
        one lets everything pass and records what would have been refused."""
        self.entry_count: int = reader.count
        self.ports: frozenset[int] = reader.ports
        """Ports that entries name, the lowest hundred; most name none and mean every port."""
        self.notice = ""
        """One more thing that every sentence says, such as that the policy is out of date."""

    @classmethod
    def empty(cls, reason: str) -> "Policy":
        """A policy that allows nothing; ``reason`` takes the contact's place in the sentence."""
        from ramnet.policy.document import Document
        from ramnet.policy.index import compile_policy

        contact = one_line(reason, MAX_TEXT)
        return cls(compile_policy(Document(docker_hub=False, contact=contact)))

    def verify(self) -> None:
        """Check the whole blob, 1 ms for each 2 MB; opening checks the header alone.

        Raises:
            PolicyError: it is damaged.
        """
        self._reader.verify()

    def decide(self, name: str, port: int | None = None) -> Verdict:
        """Decide for a normalised ``name`` and a port, None for "on any port at all".

        A denial wins wherever it matches. With None, which is what a resolver asks,
        the name is allowed if some port of it is. An address is never allowed.
        """
        if not self.enabled:
            return _UNRESTRICTED
        candidates = self._reader.candidates(name)
        if not candidates:
            return _UNLISTED
        if len(candidates) == 1 and (verdict := self._of_simple(*candidates[0])):
            return verdict
        matches = [r for r in self._matching(name, candidates) if _on_port(r, port)]
        denied = [r for r in matches if r.flags & DENIED]
        allowed = [r for r in matches if not r.flags & DENIED]
        if port is None:
            denied = _denied_throughout(allowed, denied)
        return self._verdict(allowed, denied)

    def tried(self, name: str, port: int | None = None) -> list[Tried]:
        """Every entry that ``decide`` holds against the name, for people, in the document's order.

        Raises:
            PolicyError: the blob is damaged.
        """
        found: dict[Record, Tried] = {}
        for offset, distance in self._reader.candidates(name) if self.enabled else ():
            for record in self._reader.records(offset):
                matches = _matches(record, name, distance)
                allows = not record.flags & DENIED
                text, on_port = self._reader.text(record), _on_port(record, port)
                found[record] = Tried(text, allows, matches, on_port)
        return [found[record] for record in sorted(found)]

    def sentence(self, host: str, *, ascii: bool = False) -> str:  # noqa: A002
        """Return what a refused person reads, one line; ``ascii`` folds it to ASCII."""
        host = one_line(host, 255)
        text = f"{self.organization} has disallowed access to {host}. {self.contact}"
        text += f" {self.notice} (ramnet)" if self.notice else " (ramnet)"
        return fold(text) if ascii else text

    def _of_simple(self, offset: int, distance: int) -> Verdict | None:
        """The verdict where one record alone allows every port, as with nearly every name.

        None where there is more to look at: the whole way says the same of what is here.
        """
        simple = self._reader.simple(offset)
        if simple is None or distance == GLOBS:
            return None
        kind, flags, base = simple
        if flags or kind not in _KINDS[distance]:
            return None
        return Verdict(
            _ALLOWED, base if kind == _EXACT else entry_text(kind, base, _EVERY_PORT, "")
        )

    def _matching(self, name: str, candidates: list[tuple[int, int]]) -> Iterator[Record]:
        """Yield every record that matches the name, whatever its port."""
        for offset, distance in candidates:
            for record in self._reader.records(offset):
                if _matches(record, name, distance):
                    yield record

    def _verdict(self, allowed: list[Record], denied: list[Record]) -> Verdict:
        """Name the first entry, in the document's order, that decided."""
        if denied:
            return Verdict(Outcome.DENIED, self._reader.text(min(denied)))
        if not allowed:
            return _UNLISTED
        local = any(r.flags & LOCAL for r in allowed)
        return Verdict(Outcome.ALLOWED, self._reader.text(min(allowed)), local)


def _matches(record: Record, name: str, distance: int) -> bool:
    if distance == GLOBS:
        return matches_glob(record.glob, name)
    return record.kind in _KINDS[distance]


def kinds_at(distance: int) -> frozenset[int]:
    """The kinds that match a name with ``distance`` labels (2: or more) before the base."""
    return _KINDS[distance]


def matches_glob(glob: str, name: str) -> bool:
    """Whether a pattern with wildcards inside matches a name; an address never."""
    return _glob(glob).fullmatch(name) is not None and not ends_in_number(name)


def _on_port(record: Record, port: int | None) -> bool:
    return port is None or record.port in (_EVERY_PORT, port)


def _denied_throughout(allowed: list[Record], denied: list[Record]) -> list[Record]:
    """Return the denials that leave no port of the allowances, else none."""
    ports = {r.port for r in denied}
    if _EVERY_PORT in ports:
        return [r for r in denied if r.port == _EVERY_PORT]
    if not allowed:
        return []
    open_ports = {r.port for r in allowed}
    if _EVERY_PORT in open_ports:
        return denied if len(ports) >= _PORTS else []
    return denied if open_ports <= ports else []


@lru_cache(maxsize=4096)
def _glob(glob: str) -> re.Pattern[str]:
    return glob_regex(glob)
