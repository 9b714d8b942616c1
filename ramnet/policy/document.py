"""Read what an administrator wrote: TOML, JSON, or Docker's own API object, as one model."""

from codecs import BOM_UTF8
from hashlib import sha256
from typing import Final

import msgspec

from ramnet.errors import PolicyError
from ramnet.policy.entry import Entry, read_customs, read_registries
from ramnet.policy.fault import DocumentError, Fault, Faults
from ramnet.policy.locate import Shape
from ramnet.policy.presets import UnknownPresetError, use_preset
from ramnet.policy.sentence import DEFAULT_CONTACT, DEFAULT_ORGANIZATION, text_fault
from ramnet.policy.syntax import DockerObject, OwnTable, parse

MAX_DOCUMENT: Final = 256 * 1024 * 1024
"""Bytes of a document; ten million entries fit."""


class Document(msgspec.Struct, frozen=True):
    """A policy as written, checked and normalised; ``entries`` keep the document's order."""

    source: str = ""
    shape: Shape = Shape.TOML
    version: int = 0
    organization: str = DEFAULT_ORGANIZATION
    contact: str = DEFAULT_CONTACT
    docker_hub: bool = True
    enabled: bool = True
    enforce: bool = True
    """False: what would be refused passes and is recorded (``Policy.enforced``)."""
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
    if not data.removeprefix(BOM_UTF8).strip():
        # What a crash leaves of a file that was being written; it is not "Docker Hub alone".
        raise DocumentError(source, [Fault(None, "", "the document is empty")])
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
        enforce=table.enforce,
        presets=tuple(table.presets),
        entries=read_registries(table.registry, faults),
    )


def _from_docker(content: DockerObject, faults: Faults) -> Document:
    for index, standard in enumerate(content.standard_registries):
        if standard.id != "DockerHub":
            faults.add(f"standard_registries[{index}].id", "the only one known is 'DockerHub'")
    return Document(
        shape=Shape.DOCKER,
        docker_hub=all(standard.allowed for standard in content.standard_registries),
        enabled=content.enabled,
        entries=read_customs(content.custom_registries, faults),
    )
