"""Mending: the first change at once, a storm with pauses, and not a sentence for each."""

import asyncio
import os
from collections.abc import Awaitable, Callable

from ramnet.daemon.mender import LAST_PAUSE, SENTENCES, Mender
from ramnet.kernel.watch import Change


class Rules:
    """Rules that somebody changes by writing to a pipe."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK)
        self.tamper_descriptors = (self.reader,)
        self.restored: list[bool] = []
        self.fails = 0

    def change(self) -> None:
        os.write(self.writer, b"!")

    def tampered(self) -> Change:
        try:
            return Change(rules=bool(os.read(self.reader, 64)), who="nft (pid 7)")
        except BlockingIOError:
            return Change()

    def restore(self, *, sets: bool) -> str:
        if self.fails:
            self.fails -= 1
            raise OSError("not now")
        self.restored.append(sets)
        return "our table was removed"

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


def with_mender(story: Callable[[Rules, Mender, list[str]], Awaitable[None]]) -> None:
    """Run a story with a mender at work."""

    async def run() -> None:
        rules, told = Rules(), list[str]()
        mender = Mender(rules, "vm", told.append)
        mender.start()
        try:
            await story(rules, mender, told)
        finally:
            mender.stop()
            rules.close()

    asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


def test_a_change_is_mended_and_told_with_its_author() -> None:
    async def story(rules: Rules, mender: Mender, told: list[str]) -> None:
        rules.change()
        await until(lambda: bool(told))
        assert told == ["scope vm: our table was removed by nft (pid 7); all is set again"]
        assert rules.restored == [True]

    with_mender(story)


def test_a_storm_is_mended_with_pauses_and_in_the_end() -> None:
    async def story(rules: Rules, mender: Mender, told: list[str]) -> None:
        loop = asyncio.get_running_loop()
        began, changes = loop.time(), 0
        while loop.time() - began < 10 * LAST_PAUSE:
            rules.change()
            changes += 1
            await asyncio.sleep(0.001)
        storm = loop.time() - began
        assert len(rules.restored) <= storm / LAST_PAUSE + 5 < changes
        mended = len(rules.restored)
        rules.change()
        await until(lambda: len(rules.restored) > mended)

    with_mender(story)


def test_what_cannot_be_mended_is_tried_again() -> None:
    async def story(rules: Rules, mender: Mender, told: list[str]) -> None:
        rules.fails = 2
        rules.change()
        await until(lambda: rules.restored == [True])
        assert [("not now" in sentence) for sentence in told] == [True, True, False]

    with_mender(story)


def test_sentences_are_bounded() -> None:
    async def story(rules: Rules, mender: Mender, told: list[str]) -> None:
        for _ in range(SENTENCES + 5):
            mender.mend()
        assert len(told) == SENTENCES

    with_mender(story)
