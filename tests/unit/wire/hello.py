"""Writes ClientHellos, right ones and wrong ones, for the tests to read."""

from collections.abc import Iterable, Sequence

Extension = tuple[int, bytes]


def vector(length_size: int, content: bytes) -> bytes:
    return len(content).to_bytes(length_size, "big") + content


def server_name(*names: bytes, kind: int = 0) -> Extension:
    return 0, vector(2, b"".join(bytes((kind,)) + vector(2, name) for name in names))


def alpn(*protocols: bytes) -> Extension:
    return 16, vector(2, b"".join(vector(1, protocol) for protocol in protocols))


def supported_versions(*versions: int) -> Extension:
    return 43, vector(1, b"".join(version.to_bytes(2, "big") for version in versions))


def encrypted(kind: int) -> Extension:
    return 0xFE0D, bytes((kind,)) + b"\0\1\0\1\x07" + vector(2, b"k" * 32) + vector(2, b"p" * 64)


def message(
    extensions: Iterable[Extension] | None = (server_name(b"registry.example"),),
    *,
    version: int = 0x0303,
    session_id: bytes = b"s" * 32,
    suites: bytes = b"\x13\x01\x0a\x0a",
    compression: bytes = b"\0",
    tail: bytes = b"",
    kind: int = 1,
) -> bytes:
    """One handshake message; ``extensions`` None leaves even their length out."""
    body = version.to_bytes(2, "big") + b"r" * 32
    body += vector(1, session_id) + vector(2, suites) + vector(1, compression)
    if extensions is not None:
        body += vector(2, b"".join(k.to_bytes(2, "big") + vector(2, c) for k, c in extensions))
    return bytes((kind,)) + vector(3, body + tail)


def record(fragment: bytes, *, kind: int = 22, version: int = 0x0301) -> bytes:
    return bytes((kind,)) + version.to_bytes(2, "big") + vector(2, fragment)


def records(whole: bytes, sizes: Sequence[int]) -> bytes:
    """``whole`` in records of these sizes; what is left goes into the last one."""
    out, at = b"", 0
    for size in sizes:
        if whole[at : at + size]:
            out += record(whole[at : at + size])
            at += size
    return out + (record(whole[at:]) if at < len(whole) else b"")
