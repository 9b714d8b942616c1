"""All that is to be said of a document at once: faults, and remarks on what is left without them.

``read_document`` takes a document whole or not at all, and stops at the first key that it does
not know. An administrator wants the whole list: so what is at fault is taken out, in memory, and
the rest read again, until it can be read.
"""

import json
import re
import tomllib
from typing import Any, Final, NamedTuple

import msgspec

from ramnet.errors import PolicyError
from ramnet.policy.document import Document, read_document
from ramnet.policy.fault import MAX_FAULTS, DocumentError, Fault
from ramnet.policy.findings import Finding, findings
from ramnet.policy.locate import Shape, lines_of

_PLACE: Final = re.compile(r"(?P<key>[\w-]+)(?:\[(?P<index>\d+)\])?(?P<inner>.*)")


class Review(NamedTuple):
    """What was found; ``document`` is None where there are faults."""

    document: Document | None
    faults: list[Fault]
    findings: list[Finding]


def review_document(data: bytes, *, source: str, previous_version: int | None = None) -> Review:
    """Read a document and say everything that is wrong or odd about it, with lines.

    ``previous_version`` is that of the policy it would replace.

    Raises:
        PolicyError: it cannot be looked at, such as one that is too large.
    """
    try:
        document = read_document(data, source=source)
    except DocumentError as error:
        return _of_the_rest(data, source, error, previous_version)
    return Review(document, [], findings(document, data=data, previous_version=previous_version))


def _of_the_rest(
    data: bytes, source: str, error: DocumentError, previous_version: int | None
) -> Review:
    rest = _Rest(data)
    document = None
    while document is None and rest.take_out(error.faults):
        try:
            document = read_document(rest.encoded(), source=source)
        except DocumentError as further:
            error = further
        except PolicyError:  # nothing that is right is left of it
            break
    shape = document.shape if document and document.shape is Shape.DOCKER else _shape(data)
    lines = lines_of(data, shape, {fault.key for fault in rest.faults if fault.key})
    faults = [fault._replace(line=lines.get(fault.key, fault.line)) for fault in rest.faults]
    faults.sort(key=lambda fault: fault.line or 0)
    found = [] if document is None else _remarks(document, rest, previous_version)
    lines = lines_of(data, shape, {finding.key for finding in found if finding.key})
    return Review(None, faults, [f._replace(line=lines.get(f.key)) for f in found])


def _remarks(document: Document, rest: "_Rest", previous_version: int | None) -> list[Finding]:
    """Those on entries that are there; what is missing may be what was at fault."""
    return [
        finding._replace(key=rest.original(finding.key))
        for finding in findings(document, previous_version=previous_version)
        if finding.key.partition("[")[0] not in rest.taken
    ]


class _Rest:
    """A document as plain tables, less what was at fault."""

    def __init__(self, data: bytes) -> None:
        self.faults: list[Fault] = []
        self.taken: set[str] = set()
        """Keys that are gone altogether."""
        self._tables = _plain(data)
        self._left: dict[str, list[int]] = {}
        """By array: where in the document what is left of it stood."""

    def encoded(self) -> bytes:
        """As JSON, which reads the same."""
        return msgspec.json.encode(self._tables)

    def original(self, key: str) -> str:
        """The key that ``key`` has in the document as it is written."""
        place = _PLACE.fullmatch(key)
        if place is None or place["index"] is None or place["key"] not in self._left:
            return key
        return f"{place['key']}[{self._left[place['key']][int(place['index'])]}]{place['inner']}"

    def take_out(self, faults: list[Fault]) -> bool:
        """Note the faults and take away what they are in; False where that is not possible."""
        self.faults += [fault._replace(key=self.original(fault.key)) for fault in faults]
        places = [_PLACE.fullmatch(fault.key) for fault in faults]
        if len(self.faults) >= MAX_FAULTS or not all(map(self._has, places)):
            return False
        # From the end, so that what comes first keeps its index.
        for place in sorted(filter(None, places), key=_index, reverse=True):
            self._remove(place["key"], place["index"])
        return True

    def _has(self, place: re.Match[str] | None) -> bool:
        return place is not None and place["key"] in self._tables

    def _remove(self, key: str, index: str | None) -> None:
        array = self._tables.get(key)
        if index is not None and isinstance(array, list):
            left = self._left.setdefault(key, list(range(len(array))))
            if int(index) < len(array):  # two faults of one entry
                del array[int(index)], left[int(index)]
        else:
            self._tables.pop(key, None)
            self.taken.add(key)


def _index(place: re.Match[str]) -> int:
    return int(place["index"] or 0)


def _plain(data: bytes) -> dict[str, Any]:
    """The tables without any check; empty where they cannot be told."""
    try:
        text = data.decode("utf-8-sig")
        tables = json.loads(text) if _shape(data) is Shape.JSON else tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}
    return tables if isinstance(tables, dict) else {}


def _shape(data: bytes) -> Shape:
    return Shape.JSON if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else Shape.TOML
