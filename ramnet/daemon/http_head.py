"""The head of a request, read from a stream: for the control socket and the exporter."""

import asyncio

from ramnet.wire.http import read_request_head
from ramnet.wire.http_model import RequestHead
from ramnet.wire.result import NeedMore


async def read_head(reader: asyncio.StreamReader, limit: int) -> tuple[RequestHead | None, bytes]:
    """The head, of at most ``limit`` bytes, and what came behind it; None for what is none."""
    data = b""
    while True:
        piece = await reader.read(limit)
        data += piece
        head = read_request_head(data, limit=limit)
        if isinstance(head, RequestHead):
            return head, data[head.length :]
        if not isinstance(head, NeedMore) or not piece:
            return None, b""
