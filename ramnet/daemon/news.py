"""Wakes everybody who waits for something to have changed."""

import asyncio
from collections.abc import Callable


class News:
    """``publish`` wakes all who wait at that moment; what changed they look up themselves."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._waiting: list[asyncio.Future[None]] = []

    def publish(self) -> None:
        """Something changed."""
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            if not reader.done():
                reader.set_result(None)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return as soon as ``holds`` does; it is asked now and after every change."""
        while not holds():
            await self.next()

    async def next(self) -> None:
        """Return at the next change."""
        reader = asyncio.get_running_loop().create_future()
        self._waiting.append(reader)
        await reader
