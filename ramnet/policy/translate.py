"""From Docker's API object to ``policy.toml``, as the tables that a TOML writer takes."""

from typing import Any

from ramnet.policy.document import Document
from ramnet.policy.entry import Entry
from ramnet.policy.pattern import Kind, pattern_text
from ramnet.policy.sentence import DEFAULT_CONTACT, DEFAULT_ORGANIZATION


def to_tables(document: Document) -> dict[str, Any]:
    """The document as ``policy.toml`` says it; defaults are left out."""
    tables: dict[str, Any] = {"version": document.version}
    for key, value, default in (
        ("organization", document.organization, DEFAULT_ORGANIZATION),
        ("contact", document.contact, DEFAULT_CONTACT),
    ):
        if value != default:
            tables[key] = value
    tables["docker_hub"] = document.docker_hub
    if not document.enforce:
        tables["enforce"] = False
    if document.presets:
        tables["presets"] = list(document.presets)
    tables["registry"] = [_entry(entry) for entry in document.entries]
    return tables


def _entry(entry: Entry) -> dict[str, Any]:
    key = "domain" if entry.kind == Kind.DOMAIN else "host"
    table: dict[str, Any] = {key: pattern_text(entry.kind, entry.base, entry.port, entry.glob)}
    if not entry.allowed:
        table["allowed"] = False
    if entry.local:
        table["local"] = True
    if entry.name:
        table["name"] = entry.name
    return table
