"""From where a request says it was sent: the Referer field (RFC 9110 10.1.3).

Go's HTTP client, and so dockerd, containerd and BuildKit, sets it when it follows a redirect
(net/http, ``refererForURL``), unless that leads from https to http.
"""

import re
from typing import Final

from .http_authority import read_authority
from .http_fields import values
from .http_model import RequestHead
from .reader import BrokenError
from .result import ABSENT, Absent

_ORIGIN: Final = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)


def read_referrer(head: RequestHead) -> tuple[str, int | None] | Absent:
    """Host (not normalised) and port of the one Referer of ``head``; absent where there is none,
    more than one, or something else than an http URL. The client wrote it: a hint, no proof."""
    found = values(head.headers, b"referer")
    match = _ORIGIN.match(found[0]) if len(found) == 1 else None
    if match is None:
        return ABSENT
    try:
        return read_authority(match[1])
    except BrokenError:
        return ABSENT
