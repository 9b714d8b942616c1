"""The HTTP answers of the gate itself."""

import json
import re
from typing import Final

from ramnet.wire.http import RequestHead

CODE: Final = "UNSUPPORTED"
"""The registry error code of a refusal.

Docker prints it in lower case before the message. DENIED becomes "repository does not exist or
may require 'docker login'", UNKNOWN and codes that Docker does not know are retried for blobs;
this one is neither rewritten nor retried (moby, distribution/errors.go).
"""

_BLOB: Final = re.compile(r"/v2/.+/blobs/[^/]+\Z")
_PHRASES: Final = {400: "Bad Request", 502: "Bad Gateway"}

ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


def http_answer(status: int, phrase: str, message: str, *, body: bool = True) -> bytes:
    """A whole response with registry JSON, after which the connection closes.

    ``phrase`` is the reason phrase, ASCII; without ``body`` only the head is sent, as HEAD asks.
    """
    content = json.dumps({"errors": [{"code": CODE, "message": message}]}).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {_one_line(phrase)}\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(content)}\r\n"
        "Docker-Distribution-Api-Version: registry/2.0\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii", "replace") + (content if body else b"")


def refusal(sentence: str, phrase: str, head: RequestHead | None) -> bytes:
    """The answer to a refused request: 403 and the sentence; ``phrase`` is its ASCII form.

    ``docker push`` first asks by HEAD for each layer. The answer to HEAD has no body, and Docker
    reports that body's absence instead of the reason phrase; told 404 it goes on to POST, whose
    answer it reads (distribution, registry/client/errors.go).
    """
    if head is None or head.method != "HEAD":
        return http_answer(403, phrase, sentence)
    status = 404 if _BLOB.search(head.target) else 403
    return http_answer(status, phrase, sentence, body=False)


def plain_answer(status: int, words: str, *, body: bool = True) -> bytes:
    """An answer about the request itself, such as 400."""
    return http_answer(status, words or _PHRASES[status], words, body=body)


def _one_line(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)
