"""Parameters of SVCB and HTTPS records (RFC 9460 section 2.2)."""

import struct
from collections.abc import Iterator
from typing import Final

from ramnet.wire.dns.names import NAME_LIMIT
from ramnet.wire.result import Malformed

MANDATORY: Final = 0
IPV4_HINT: Final = 4
ECH: Final = 5
IPV6_HINT: Final = 6

_HEAD: Final = struct.Struct("!HH")


def _target_end(data: bytes) -> int:
    """Behind priority and target name, which is never compressed; 0 if it does not end."""
    at = 2
    while at < min(len(data), 2 + NAME_LIMIT):
        length = data[at]
        if length > 63:
            return 0
        at += 1 + length
        if not length:
            return at
    return 0


def _parameters(data: bytes, at: int) -> Iterator[tuple[int, bytes] | Malformed]:
    previous = -1
    while at < len(data):
        if at + _HEAD.size > len(data):
            yield Malformed("a parameter is cut off")
            return
        key, size = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + size
        if end > len(data) or key <= previous:
            yield Malformed("a parameter is cut off or out of order")
            return
        yield key, data[at + _HEAD.size : end]
        previous, at = key, end


def without_parameters(data: bytes, unwanted: frozenset[int]) -> bytes | Malformed:
    """The record data with the ``unwanted`` parameters left out.

    Malformed also where the record declares one of them mandatory: without it, it says
    something else than its owner said.
    """
    at = _target_end(data)
    if not at:
        return Malformed("the target name does not end")
    kept = [data[:at]]
    for parameter in _parameters(data, at):
        if isinstance(parameter, Malformed):
            return parameter
        key, value = parameter
        if key == MANDATORY:
            mandatory = {key for (key,) in struct.iter_unpack("!H", value[: len(value) & ~1])}
            if len(value) % 2 or mandatory & unwanted:
                return Malformed("an unwanted parameter is mandatory")
        if key not in unwanted:
            kept.append(_HEAD.pack(key, len(value)) + value)
    return b"".join(kept)
