"""What is known of an HTTP/1 message once its head was read."""

from dataclasses import dataclass
from typing import Literal

from .result import Absent

Form = Literal["origin", "absolute", "authority", "asterisk"]
"""The forms of a request target (RFC 9112 3.2)."""

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields in order: names as they were sent, values without the space around them."""


@dataclass(frozen=True, slots=True)
class NoBody:
    """The request ends with its head."""


@dataclass(frozen=True, slots=True)
class Length:
    """A body of so many bytes follows the head."""

    size: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """A body in chunks follows the head (RFC 9112 7.1); see ``ChunkedBody``."""


@dataclass(frozen=True, slots=True)
class Http2Preface:
    """The client speaks HTTP/2 without TLS and without asking first (RFC 9113 3.4)."""

    length: int = 24


@dataclass(frozen=True, slots=True)
class RequestHead:
    """One HTTP/1 request up to the empty line."""

    method: str
    """Never in lower case, since no method is and lenient servers would fold it."""
    target: str
    form: Form
    host: str | Absent
    """Whom the request addresses: the CONNECT authority, else the absolute URI's, else Host.

    A name, or an address as text, IPv6 without its brackets; not normalised."""
    port: int | None
    """The port beside ``host``; None where none is written (see ``scheme``)."""
    host_header: tuple[str, int | None] | Absent
    """What the Host field says. A server may well go by it where it differs from ``host``, so
    both are to be decided."""
    headers: Fields
    body: NoBody | Length | Chunked
    upgrade: bool
    """An Upgrade field is there: after a 101 the connection may carry any protocol."""
    expects_continue: bool
    """The client holds its body back until it sees a 100 (RFC 9110 10.1.1)."""
    version: tuple[int, int]
    length: int
    """Bytes of the head, with the empty lines before it and the one after it."""
    scheme: Literal["http", "https"] | None = None
    """The scheme of an absolute URI; None in the other forms."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """One HTTP/1 response up to the empty line, as far as a relay needs it."""

    status: int
    length: int
    """Bytes of the head."""

    @property
    def interim(self) -> bool:
        """Another head follows this one (100, 102, 103); 101 is the last of its protocol."""
        return 100 <= self.status < 200 and self.status != 101
