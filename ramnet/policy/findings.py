"""What is accepted and yet worth a second look: the remarks of ``policy validate``."""

from typing import NamedTuple

from ramnet.policy.document import Document
from ramnet.policy.pattern import Kind


class Finding(NamedTuple):
    """One remark; ``key`` is its place in the document, ``line`` is None where unknown."""

    code: str
    severity: str
    key: str
    text: str
    line: int | None = None


def findings(document: Document) -> list[Finding]:
    """Return the remarks on a document, in its order."""
    return [
        Finding("address", "warning", f"{document.key_of(i)}.host", "an address never matches")
        for i, entry in enumerate(document.entries)
        if entry.kind == Kind.ADDRESS
    ]
