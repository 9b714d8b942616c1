"""What a machine keeps of a repository, in one file: so it is there whole or not at all.

Nothing in it is trusted for being there: it is verified from the trusted root whenever it is
read. Only ``seen`` is taken at its word, and it can make a machine stricter alone.
"""

from typing import Final

import msgspec

from ramnet.errors import PolicyError

BUNDLE: Final = "policy.bundle"
"""Its file, in the state directory."""
MAX_DOCUMENT: Final = 256 << 20
"""Bytes of one document."""
MAX_BUNDLE: Final = 512 << 20


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metadata in force and the documents that it names."""

    url: str
    """Where it came from: another repository's numbers mean nothing here."""
    seen: float
    """Unix time at which the server was last heard and its timestamp had not expired."""
    metadata: dict[str, bytes]
    """By file name; roots as ``N.root.json``, the others without a number."""
    documents: dict[str, bytes]
    """By target path."""
    etag: str = ""
    """Of ``timestamp.json``, for conditional requests (RFC 9110 section 13.1.2)."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Bundle)
_documents = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


def pack(bundle: Bundle) -> bytes:
    """As bytes for the disk."""
    return _encoder.encode(bundle)


def unpack(data: bytes) -> Bundle:
    """Raises PolicyError for what ``pack`` did not write."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise PolicyError(f"what was kept of the policy is damaged: {error}") from None


def pack_documents(documents: list[tuple[str, bytes]]) -> bytes:
    """Documents by name, in order, for the compiler."""
    return _encoder.encode(documents)


def unpack_documents(data: bytes) -> list[tuple[str, bytes]]:
    """Raises PolicyError."""
    try:
        return _documents.decode(data)
    except msgspec.DecodeError as error:
        raise PolicyError(f"the documents are damaged: {error}") from None
