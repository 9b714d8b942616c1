"""Has all gates adopt a policy: every one of them, or none."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final

from ramnet.daemon.channel import Adopted, Rejected
from ramnet.daemon.gate_keeper import GateKeeper, PolicyOrder
from ramnet.daemon.news import News
from ramnet.errors import PolicyError

LIMIT: Final = 30.0
"""Seconds until a gate that does not answer is waited for no longer."""


class Adoption:
    """The order in force for all gates, which those that are yet to start are given too."""

    def __init__(self, keepers: Callable[[], Sequence[GateKeeper]], news: News) -> None:
        """``keepers`` may grow; ``news`` is published when a gate answers."""
        self._keepers, self._news = keepers, news
        self._order = PolicyOrder(0, None, "")

    @property
    def complete(self) -> bool:
        """Whether every gate has the order in force."""
        return all(isinstance(keeper.answer, Adopted) for keeper in self._keepers())

    @property
    def adopted(self) -> Adopted | None:
        """What the gates say of the policy in force; None while none has said it."""
        answers = (keeper.answer for keeper in self._keepers())
        return next((answer for answer in answers if isinstance(answer, Adopted)), None)

    def introduce(self, keeper: GateKeeper) -> None:
        """Give the order in force to the gate of a scope that appeared later."""
        keeper.order(self._order)

    async def install(self, blob: int | None, reason: str, notice: str = "") -> None:
        """Order it, and wait until every gate has adopted it.

        A gate that is down adopts it when it is back, so only a refusal undoes the order; that
        raises PolicyError. ``blob`` is duplicated; ``notice`` is added to what a refused person
        reads.
        """
        previous = self._order
        self._give(None if blob is None else os.dup(blob), reason, notice)
        try:
            async with asyncio.timeout(LIMIT):
                await self._news.until(lambda: self.complete or self._rejected() is not None)
        except TimeoutError:
            return _close(previous)
        if (rejected := self._rejected()) is not None:
            _close(self._order)
            self._give(previous.blob, previous.reason, previous.notice)
            raise PolicyError(rejected.reason)
        return _close(previous)

    def _rejected(self) -> Rejected | None:
        answers = (keeper.answer for keeper in self._keepers())
        return next((answer for answer in answers if isinstance(answer, Rejected)), None)

    def _give(self, blob: int | None, reason: str, notice: str) -> None:
        self._order = PolicyOrder(self._order.serial + 1, blob, reason, notice)
        for keeper in self._keepers():
            keeper.order(self._order)


def _close(order: PolicyOrder) -> None:
    if order.blob is not None:
        os.close(order.blob)
