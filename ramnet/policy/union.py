"""Several documents as one: what any of them allows, less what any of them denies.

The first is for everybody, the others for the groups of the person who is signed in. What is not
a list of registries (version, organization, contact, ``docker_hub``, ``enabled``, ``enforce``) is
the first one's: a group's document that does not speak of Docker Hub must not open it. One that
shall allow it lists the preset ``docker-hub``.
"""

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from ramnet.policy.document import Document


def unite(documents: Sequence[Document]) -> Document:
    """Join documents, of which there is at least one; denials win, as within one."""
    first, *others = documents
    if not others:
        return first
    presets = dict.fromkeys(preset for document in documents for preset in document.presets)
    return msgspec.structs.replace(
        first,
        source=", ".join(document.source for document in documents),
        presets=tuple(presets),
        entries=[entry for document in documents for entry in document.entries],
        digest=sha256("".join(d.digest for d in documents).encode()).hexdigest(),
    )
