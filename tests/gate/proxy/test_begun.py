"""What begins without a task and goes on in one."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from ramnet.gate.proxy.begun import Begun
from ramnet.gate.proxy.sockets import limited


async def begun(work: Coroutine[Any, Any, None], *, cancel: bool = False) -> asyncio.Task[None]:
    """As ``Services.begin`` does it: the first step in a callback, which is no task.

    ``cancel``: before the task has taken a step of its own.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Task[None]] = loop.create_future()

    def begin() -> None:
        try:
            task = loop.create_task(Begun(work, work.send(None)))
        except RuntimeError as error:
            made.set_exception(error)
            return
        if cancel:
            task.cancel()
        made.set_result(task)

    loop.call_soon(begin)
    return await made


def test_what_was_begun_goes_on_with_what_it_waits_for() -> None:
    async def main() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        seen = []

        async def work() -> None:
            seen.append(await future)
            await asyncio.sleep(0)
            seen.append("after a turn")

        task = await begun(work())
        future.set_result("a result")
        await task
        assert seen == ["a result", "after a turn"]

    asyncio.run(main())


@pytest.mark.parametrize("at_once", [False, True])
def test_a_cancelled_one_cleans_up_and_so_does_what_it_waits_for(at_once: bool) -> None:

    async def main() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cleaned = []

        async def work() -> None:
            try:
                await future
            finally:
                cleaned.append(True)

        task = await begun(work(), cancel=at_once)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [True]
        assert future.cancelled()

    asyncio.run(main())


def test_a_limit_of_time_holds_without_a_task_too() -> None:
    async def main() -> None:
        over = []

        async def work() -> None:
            try:
                async with limited(0.01):
                    await asyncio.get_running_loop().create_future()
            except TimeoutError:
                over.append(True)

        await (await begun(work()))
        assert over == [True]

    asyncio.run(main())
