"""HTTP/1 as the gate reads and forwards it; the parts live in the ``http_*`` modules."""

from .http_authority import write_authority
from .http_chunked import ChunkedBody
from .http_forward import connect_head, forward_head
from .http_head import MAX_HEAD, read_request_head
from .http_model import (
    Chunked,
    Fields,
    Form,
    Http2Preface,
    Length,
    NoBody,
    RequestHead,
    ResponseHead,
)
from .http_referrer import read_referrer
from .http_response import read_response_status

__all__ = [
    "MAX_HEAD",
    "Chunked",
    "ChunkedBody",
    "Fields",
    "Form",
    "Http2Preface",
    "Length",
    "NoBody",
    "RequestHead",
    "ResponseHead",
    "connect_head",
    "forward_head",
    "read_referrer",
    "read_request_head",
    "read_response_status",
    "write_authority",
]
