"""Which names may be reached: the document, its meaning, and the decision.

::

    bytes -> syntax -> document -> index -> blob -> Policy -> Verdict
             types,    patterns,   hash     one flat           name and port in,
             keys      presets     table    memory file        entry that decided out

A policy is read and compiled in a process of its own (``python -m ramnet.policy``) and
used by others as the blob it left: mapped, shared, with no object for an entry. So a
million entries cost the serving processes no memory, no pause, and no more time for a
decision than ten: a name of five labels is five probes of a hash table at most. Only
patterns with a wildcard inside are tried one by one, found by their longest literal
suffix of whole labels.

Rules that hold throughout:

- Names are compared in one form only, that of ``normalise``.
- A denial wins over every allowance. Nothing listed, nothing allowed.
- Nothing is decided by address: an address as host is kept, reported, and never matches.
- A document is taken whole or refused, with source, line, key and reason.
- Damage to a blob gives ``PolicyError``, which callers treat as a refusal.

This room is pure: bytes in, values out.
"""

from ramnet.policy.decision import Outcome, Policy, Verdict
from ramnet.policy.document import Document, read_document
from ramnet.policy.entry import Entry
from ramnet.policy.fault import DocumentError, Fault
from ramnet.policy.findings import Finding, findings
from ramnet.policy.index import compile_policy
from ramnet.policy.layout import MAX_PORTS
from ramnet.policy.name import InvalidNameError, normalise, split_host_port
from ramnet.policy.presets import Preset, list_presets
from ramnet.policy.review import Review, review_document
from ramnet.policy.translate import to_tables
from ramnet.policy.union import unite

__all__ = [
    "MAX_PORTS",
    "Document",
    "DocumentError",
    "Entry",
    "Fault",
    "Finding",
    "InvalidNameError",
    "Outcome",
    "Policy",
    "Preset",
    "Review",
    "Verdict",
    "compile_policy",
    "findings",
    "list_presets",
    "normalise",
    "read_document",
    "review_document",
    "split_host_port",
    "to_tables",
    "unite",
]
