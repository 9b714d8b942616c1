"""The HTTP answers of the gate itself."""

import json
from typing import Final

CODE: Final = "UNSUPPORTED"
"""The registry error code of a refusal.

Docker prints it in lower case before the message. DENIED becomes "repository does not exist or
may require 'docker login'", UNKNOWN and codes that Docker does not know are retried for blobs;
this one is neither rewritten nor retried (moby, distribution/errors.go).
"""

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


def plain_answer(status: int, words: str, *, body: bool = True) -> bytes:
    """An answer about the request itself, such as 400."""
    return http_answer(status, words or _PHRASES[status], words, body=body)


def _one_line(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)
