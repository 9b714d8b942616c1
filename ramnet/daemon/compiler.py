"""From a policy document to a blob, without this process reading a byte of either."""

import asyncio
import contextlib
import os
import sys
from typing import Final

from ramnet.daemon import memfd
from ramnet.errors import PolicyError

TIME_LIMIT: Final = 180.0
"""Seconds for one document."""
_MAX_COMPLAINT: Final = 4096
_COMMAND: Final = (sys.executable, "-I", "-m", "ramnet.daemon.compile")


async def compile_document(document: int, source: str, *, time_limit: float = TIME_LIMIT) -> int:
    """Compile what ``document`` (a descriptor at its beginning) holds; returns a sealed memfd.

    Raises PolicyError with the compiler's own reason, or with how the child ended.
    """
    blob = memfd.create("policy")
    try:
        complaint = await _run(document, source, blob, time_limit)
        if complaint is not None:
            raise PolicyError(complaint)
        if os.fstat(blob).st_size == 0:
            raise PolicyError(f"{source}: the policy compiler said nothing")
        memfd.seal(blob)
    except BaseException:
        os.close(blob)
        raise
    return blob


async def _run(document: int, source: str, blob: int, time_limit: float) -> str | None:
    """None when all went well, else why not."""
    child = await asyncio.create_subprocess_exec(
        *_COMMAND, source, stdin=document, stdout=blob, stderr=asyncio.subprocess.PIPE
    )
    assert child.stderr is not None
    try:
        async with asyncio.timeout(time_limit):
            said = await _tail(child.stderr)
            status = await child.wait()
    except TimeoutError:
        return f"{source}: compiling it took more than {time_limit:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if status == 0:
        return None
    lines = said.decode(errors="replace").strip().splitlines()
    reason = "".join(c if c.isprintable() else "?" for c in lines[-1][:500]) if lines else ""
    return reason if status == 1 and reason else _ending(source, status, reason)


def _ending(source: str, status: int, reason: str) -> str:
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"{source}: the policy compiler ended with {how}" + (f": {reason}" if reason else "")


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """The end of what a child says, however much that is."""
    tail = b""
    while piece := await stream.read(_MAX_COMPLAINT):
        tail = (tail + piece)[-_MAX_COMPLAINT:]
    return tail
