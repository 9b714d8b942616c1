"""A coroutine that was begun without a task, for a task to go on with.

Python 3.12 has eager tasks; the machines that the gate is baked into have 3.11 too.
"""

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any


class Begun(Coroutine[Any, Any, None]):
    """Hands on what the coroutine waits for, as if the task itself had taken the first step."""

    __slots__ = ("_waits_for", "_work")

    def __init__(
        self, work: Coroutine[Any, Any, None], waits_for: asyncio.Future[Any] | None
    ) -> None:
        """``waits_for``: what the first step gave; None for a bare turn of the loop."""
        self._work, self._waits_for = work, waits_for

    def send(self, value: Any, /) -> Any:
        """The task's next step."""
        waits_for, self._waits_for = self._waits_for, None
        return self._work.send(value) if waits_for is None else waits_for

    def throw(  # type: ignore[override]  # the one form that a task uses
        self, error: BaseException, /, *_: TracebackType | None
    ) -> Any:
        """The task was cancelled, or what it waited for has failed."""
        if self._waits_for is not None:  # before the task's first step
            self._waits_for.cancel()
        return self._work.throw(error)

    def close(self) -> None:
        """Never to be gone on with."""
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._work.__await__()
