"""Read what an administrator wrote: TOML, JSON, or Docker's own API object, as one model."""

from hashlib import sha256
from typing import Final

import msgspec

from ramnet.errors import PolicyError
from ramnet.policy.fault import DocumentError, Fault, Faults
from ramnet.policy.locate import Shape
from ramnet.policy.name import InvalidNameError
from ramnet.policy.pattern import Kind, Pattern, parse_domain, parse_host, pattern_text
from ramnet.policy.presets import UnknownPresetError, use_preset
from ramnet.policy.sentence import DEFAULT_CONTACT, DEFAULT_ORGANIZATION, text_fault
from ramnet.policy.syntax import DockerObject, OwnTable, Registry, parse

MAX_DOCUMENT: Final = 256 * 1024 * 1024
"""Bytes of a document; ten million entries fit."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One ``[[registry]]``: a pattern's fields, and what holds for the names it matches."""

    kind: Kind
    base: str
    port: int
    glob: str
    allowed: bool = True
    local: bool = False
    name: str = ""

    @classmethod
    def of(cls, pattern: Pattern) -> "Entry":
        """An allowance of ``pattern``."""
        return cls(*pattern)

    @property
    def text(self) -> str:
        """As a verdict names it, such as ``corp.example:443 (domain)``."""
        text = pattern_text(self.kind, self.base, self.port, self.glob)
        return f"{text} (domain)" if self.kind == Kind.DOMAIN else text


class Document(msgspec.Struct, frozen=True):
    """A policy as written, checked and normalised; ``entries`` keep the document's order."""

    source: str = ""
    shape: Shape = Shape.TOML
    version: int = 0
    organization: str = DEFAULT_ORGANIZATION
    contact: str = DEFAULT_CONTACT
    docker_hub: bool = True
    enabled: bool = True
    presets: tuple[str, ...] = ()
    entries: list[Entry] = []
    digest: str = ""

    def key_of(self, index: int) -> str:
        """Name the place of ``entries[index]`` in the document."""
        array = "custom_registries" if self.shape is Shape.DOCKER else "registry"
        return f"{array}[{index}]"


def read_document(data: bytes, *, source: str) -> Document:
    """Read a policy document; ``source`` is what its errors call it.

    Content tells the shapes apart: ``{`` begins JSON, and a JSON object with one of
    Docker's keys is the object of Docker's Hub API; everything else is TOML.

    Raises:
        PolicyError: with source, line, key and reason; ``DocumentError.faults`` lists all.
    """
    if len(data) > MAX_DOCUMENT:
        raise PolicyError(f"{source}: larger than {MAX_DOCUMENT >> 20} MiB")
    faults = Faults(source, data)
    try:
        shape, content = parse(data, faults)
        if isinstance(content, DockerObject):
            document = _from_docker(content, faults)
        else:
            document = _from_own(content, shape, faults)
    except RecursionError:
        raise DocumentError(source, [Fault(None, "", "it is nested too deeply")]) from None
    faults.raise_if_any(document.shape)
    return msgspec.structs.replace(document, source=source, digest=sha256(data).hexdigest())


def _from_own(table: OwnTable, shape: Shape, faults: Faults) -> Document:
    for key, value in (("organization", table.organization), ("contact", table.contact)):
        if fault := text_fault(value):
            faults.add(key, fault)
    for index, text in enumerate(table.presets):
        try:
            use_preset(text)
        except UnknownPresetError as error:
            faults.add(f"presets[{index}]", str(error))
    return Document(
        shape=shape,
        version=table.version,
        organization=table.organization.strip(),
        contact=table.contact.strip(),
        docker_hub=table.docker_hub,
        presets=tuple(table.presets),
        entries=_entries(table.registry, faults),
    )


def _entries(registries: list[Registry], faults: Faults) -> list[Entry]:
    """Turn the list into entries in place, so that a million are not held twice."""
    entries: list[Entry] = registries  # type: ignore[assignment]
    for index, registry in enumerate(registries):
        try:
            entries[index] = _entry(registry)
        except InvalidNameError as error:
            key = "host" if isinstance(registry.host, str) else "domain"
            faults.add(f"registry[{index}].{key}", str(error))
        except ValueError as error:
            faults.add(f"registry[{index}]", str(error))
        if faults.enough:
            break
    return entries


def _entry(registry: Registry) -> Entry:
    """Read one ``[[registry]]``; a ValueError says what is wrong with it as a whole."""
    host, domain = registry.host, registry.domain
    if isinstance(host, str):
        if isinstance(domain, str):
            raise ValueError("give host or domain, not both")
        kind, base, port, glob = parse_host(host)
    elif isinstance(domain, str):
        kind, base, port, glob = parse_domain(domain)
    else:
        raise ValueError("host or domain is missing")
    allowed, local, name = registry.allowed, registry.local, registry.name
    return Entry(
        kind, base, port, glob, allowed is not False, local is True, name if name else ""
    )


def _from_docker(content: DockerObject, faults: Faults) -> Document:
    hub = True
    for index, standard in enumerate(content.standard_registries):
        if standard.id != "DockerHub":
            faults.add(f"standard_registries[{index}].id", "the only one known is 'DockerHub'")
        hub = standard.allowed
    entries: list[Entry] = []
    for index, custom in enumerate(content.custom_registries):
        try:
            # The Hub's users mean a domain by a bare name: RAM blocks by DNS suffix.
            exact = "*" in custom.address or ":" in custom.address
            pattern = parse_host(custom.address) if exact else parse_domain(custom.address)
        except InvalidNameError as error:
            faults.add(f"custom_registries[{index}].address", str(error))
            continue
        name = custom.friendly_name
        entries.append(Entry(*pattern, allowed=custom.allowed, name=name if name else ""))
    return Document(
        shape=Shape.DOCKER, docker_hub=hub, enabled=content.enabled, entries=entries
    )
