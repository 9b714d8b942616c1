"""Short ways to a policy."""

import msgspec

from ramnet.policy import Document, Policy, compile_policy, read_document
from tests.unit.policy.reference import Line


def document(text: str) -> Document:
    """Read a document from text."""
    return read_document(text.encode(), source="policy.toml")


def policy(text: str) -> Policy:
    """Compile a document from text."""
    return Policy(compile_policy(document(text)))


def blob_of(lines: list[Line], *, docker_hub: bool = False) -> bytes:
    """Compile entries alone."""
    table = {"docker_hub": docker_hub, "registry": [line.table() for line in lines]}
    return compile_policy(read_document(msgspec.json.encode(table), source="policy.json"))


def policy_of(lines: list[Line]) -> Policy:
    """A policy of entries alone."""
    return Policy(blob_of(lines))


def hosts(*patterns: str) -> Policy:
    """A policy that allows these hosts and nothing else."""
    table = {"docker_hub": False, "registry": [{"host": host} for host in patterns]}
    return Policy(compile_policy(read_document(msgspec.json.encode(table), source="policy.json")))
