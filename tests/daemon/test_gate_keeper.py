"""The hand on one gate: how it is fed, and how often it is tried again."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from ramnet.daemon import channel, gate_keeper
from ramnet.daemon.adoption import Adoption
from ramnet.daemon.gate_keeper import GateKeeper, Place, PolicyOrder
from ramnet.daemon.news import News
from ramnet.errors import PolicyError

from .test_channel import NEAR, SPEC


class EnoughError(Exception):
    """Ends an endless loop."""


def make_keeper(
    *, command: tuple[str, ...] = ("/bin/false",), changed: Callable[[], None] = lambda: None
) -> GateKeeper:
    place = Place(0, None, {})
    return GateKeeper(SPEC, place, NEAR, tell=lambda _: None, changed=changed, command=command)


@pytest.mark.parametrize("command", ["/bin/false", "/nonexistent/worker"])
def test_a_gate_that_cannot_live_is_tried_again_ever_slower(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    delays: list[float] = []
    sleep = asyncio.sleep

    async def pause(delay: float) -> None:
        if delay == gate_keeper.BEAT:
            await sleep(delay)
            return
        delays.append(delay)
        if len(delays) == 8:
            raise EnoughError

    monkeypatch.setattr("ramnet.daemon.gate_keeper.asyncio.sleep", pause)

    async def keep() -> GateKeeper:
        keeper = make_keeper(command=(command,))
        keeper.start()
        assert keeper._task is not None
        with pytest.raises(EnoughError):
            await keeper._task
        return keeper

    keeper = asyncio.run(keep())
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert keeper.restarts == 8
    assert not keeper.ready


class FakeKeeper(GateKeeper):
    """A gate that answers at once: it rejects the serials that it is told to."""

    def __init__(self, news: News, rejects: set[int]) -> None:
        super().__init__(SPEC, Place(0, None, {}), NEAR, tell=print, changed=news.publish)
        self.rejects, self.orders = rejects, list[PolicyOrder]()

    def order(self, order: PolicyOrder) -> None:
        super().order(order)
        self.orders.append(order)
        answer: Any = channel.Adopted(order.serial, version=order.serial)
        if order.serial in self.rejects:
            answer = channel.Rejected(order.serial, "damaged")
        asyncio.get_running_loop().call_soon(self._take, answer)


def blob() -> int:
    return os.memfd_create("blob")


def test_what_one_gate_rejects_no_gate_keeps() -> None:
    async def adopt() -> None:
        news = News()
        gates = [FakeKeeper(news, set()), FakeKeeper(news, {2})]
        adoption = Adoption(lambda: gates, news)
        first, second = blob(), blob()
        await adoption.install(first, "")
        assert adoption.complete
        with pytest.raises(PolicyError, match="damaged"):
            await adoption.install(second, "")
        for gate in gates:
            assert [order.serial for order in gate.orders] == [1, 2, 3]
            assert gate.orders[2].blob == gate.orders[0].blob
            os.fstat(gate.orders[2].blob or -1)  # still open, for gates yet to start
        with pytest.raises(OSError):
            os.fstat(gates[0].orders[1].blob or -1)
        os.close(first)
        os.close(second)

    asyncio.run(adopt())


def test_a_gate_that_is_down_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ramnet.daemon.adoption.LIMIT", 0.01)

    async def adopt() -> None:
        keeper = make_keeper()
        adoption = Adoption(lambda: [keeper], News())
        await adoption.install(None, "nothing yet")
        assert not adoption.complete
        assert adoption.adopted is None

    asyncio.run(adopt())


def test_an_answer_to_an_older_order_counts_for_nothing() -> None:
    keeper = make_keeper()
    keeper.order(PolicyOrder(2, None, "newer"))
    keeper._take(channel.Adopted(1))
    assert keeper.answer is None
    assert not keeper.serving
    keeper._take(channel.Adopted(2))
    assert keeper.serving


@pytest.mark.parametrize("lost", [0, gate_keeper.MISSED_BEATS - 1])
def test_a_gate_that_answers_lives_on(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    monkeypatch.setattr(gate_keeper, "BEAT", 0)
    keeper = make_keeper()
    keeper.ready = True
    asked: list[channel.ToGate] = []

    def send(message: channel.ToGate, fds: object = ()) -> None:
        asked.append(message)
        if len(asked) % (lost + 1) == 0:
            keeper._take(channel.Pong(len(asked), {}))
        if len(asked) == 40:
            raise EnoughError

    monkeypatch.setattr(keeper, "_send", send)
    with pytest.raises(EnoughError):
        asyncio.run(keeper._beat())


def test_a_gate_that_is_mute_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_keeper, "BEAT", 0)
    keeper = make_keeper()
    keeper.ready = True
    assert asyncio.run(keeper._beat()).startswith("did not answer")
