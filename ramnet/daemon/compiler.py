"""From a policy document to a blob, without this process reading a byte of either."""

import asyncio
import os
import sys
from typing import Final

from ramnet.daemon import memfd
from ramnet.daemon.child import Child
from ramnet.errors import PolicyError

TIME_LIMIT: Final = 180.0
"""Seconds for one document."""
_MAX_COMPLAINT: Final = 2000
_COMMAND: Final = (sys.executable, "-I", "-m", "ramnet.daemon.compile")


async def compile_document(
    document: int, source: str, *, many: bool = False, time_limit: float = TIME_LIMIT
) -> int:
    """Compile what ``document`` (a descriptor at its beginning) holds; returns a sealed memfd.

    ``many``: it holds several documents, whose union is compiled.
    Raises PolicyError with the compiler's own reason, or with how the child ended.
    """
    blob = _file(source, "policy")
    try:
        complaint = await _run(document, ["--many", source] if many else [source], blob, time_limit)
        if complaint is not None:
            raise PolicyError(complaint)
        if os.fstat(blob).st_size == 0:
            raise PolicyError(f"{source}: the policy compiler said nothing")
        memfd.seal(blob)
    except BaseException:
        os.close(blob)
        raise
    return blob


async def _run(document: int, arguments: list[str], blob: int, time_limit: float) -> str | None:
    """None when all went well, else why not."""
    source = arguments[-1]
    complaint = _file(source, "complaint")
    try:
        child = Child([*_COMMAND, *arguments], stdin=document, stdout=blob, stderr=complaint)
        try:
            async with asyncio.timeout(time_limit):
                await child.wait()
        except TimeoutError:
            return f"{source}: compiling it took more than {time_limit:g} s"
        finally:
            status = await child.end()
        return None if status == 0 else _explain(source, status, _last_line(complaint))
    except OSError as error:
        raise PolicyError(
            f"{source}: the policy compiler cannot be started: {error.strerror}"
        ) from error
    finally:
        os.close(complaint)


def _file(source: str, name: str) -> int:
    try:
        return memfd.create(name)
    except OSError as error:
        raise PolicyError(f"{source}: cannot be compiled: {error.strerror}") from error


def _explain(source: str, status: int, reason: str) -> str:
    if status == 1 and reason:
        return reason
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"{source}: the policy compiler ended with {how}" + (f": {reason}" if reason else "")


def _last_line(complaint: int) -> str:
    size = os.fstat(complaint).st_size
    said = os.pread(complaint, _MAX_COMPLAINT, max(size - _MAX_COMPLAINT, 0))
    lines = said.decode(errors="replace").strip().splitlines()
    return "".join(c if c.isprintable() else "?" for c in lines[-1]) if lines else ""
