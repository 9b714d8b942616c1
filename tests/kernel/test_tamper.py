"""What another tool does to our rules or routes is undone at once, and told.

Where it can do it: test_ownership.py has the tables that it cannot touch.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.daemon.mender import SENTENCES, Mender
from ramnet.kernel.enforcer import Enforcer
from tests.kernel.conftest import FAR4, Wire, client, new_enforcer
from tests.lab.host import Host
from tests.lab.processes import wait_until

pytestmark = pytest.mark.usefixtures("anybodys")

Hosts = tuple[Host, Host]
_PATIENCE = 5.0


class Mending:
    """A mender at work in an event loop of its own, as the supervisor has it."""

    def __init__(self, enforcer: Enforcer) -> None:
        self.enforcer, self.told = enforcer, list[str]()
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._mender = Mender(enforcer, "vm", self._tell)
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._call(self._mender.start)

    def _call(self, function: object) -> None:
        async def call() -> None:
            function()  # type: ignore[operator]

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(_PATIENCE)

    def wait_told(self, words: str) -> str:
        def found() -> str | None:
            return next((sentence for sentence in self.told if words in sentence), None)

        with self._news:
            if (sentence := self._news.wait_for(found, _PATIENCE)) is not None:
                return sentence
        raise AssertionError(f"{words!r} was not told; told was {self.told}")

    def _tell(self, sentence: str) -> None:
        with self._news:
            self.told.append(sentence)
            self._news.notify_all()

    def close(self) -> None:
        self._call(self._mender.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def mending(enforcer: Enforcer) -> Iterator[Mending]:
    enforcer.install()
    mending = Mending(enforcer)
    yield mending
    mending.close()


def listing(vm: Host) -> str:
    return vm.run(["nft", "-s", "-t", "list table inet ramnet"]).check().out


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("flush ruleset", "our table was removed by nft (pid"),
        ("delete table inet ramnet", "our table was removed by nft (pid"),
        ("flush table inet ramnet", "removed `meta skuid"),
        ("insert rule inet ramnet output accept", "added `accept` by nft (pid"),
        ("flush chain inet ramnet input", "removed `ct state"),
        ("add rule inet ramnet leaving counter accept", "added `counter accept` by nft"),
        ("add chain inet ramnet extra", "added `chain extra {` by nft"),
        ("add element inet ramnet containers4 { 0.0.0.0/1 }", "what our sets hold was changed by"),
        ("chain inet ramnet output { policy accept; }", "policy accept"),
    ],
    ids=lambda text: text.split(" by ")[0].replace("inet ramnet ", ""),
)
def test_what_nft_does_is_undone(hosts: Hosts, mending: Mending, command: str, told: str) -> None:
    before = listing(hosts[0])
    hosts[0].run(["nft", command]).check()
    sentence = mending.wait_told("all is set again")
    assert told in sentence
    assert listing(hosts[0]) == before
    assert "0.0.0.0/1" not in hosts[0].run(["nft", "list table inet ramnet"]).check().out
    assert mending.enforcer.intact()
    assert len(mending.told) == 1  # what we do ourselves is no news to us


@pytest.mark.parametrize(
    ("command", "address"),
    [("ip route del 240.0.0.1/32", "240.0.0.1"), ("ip -6 route del 100::1/128", "100::1")],
    ids=["ipv4", "ipv6"],
)
def test_a_deleted_route_is_added_again(
    hosts: Hosts, mending: Mending, command: str, address: str
) -> None:
    assert mending.enforcer.intact()
    hosts[0].run(command.split()).check()
    assert f"the route to {address}" in mending.wait_told("was removed")
    assert mending.enforcer.intact()


def test_a_route_that_went_unreported_is_found_by_looking(hosts: Hosts, enforcer: Enforcer) -> None:
    enforcer.install()
    hosts[0].run(["ip", "route", "del", "240.0.0.1/32"]).check()
    assert not enforcer.intact()
    assert enforcer.restore(sets=False) == "the route to 240.0.0.1/32 was removed"
    assert enforcer.intact()


def test_others_rules_and_routes_are_theirs(hosts: Hosts, mending: Mending) -> None:
    for command in (
        "nft add table inet another",
        "nft add chain inet another c",
        "nft add rule inet another c accept",
        "nft delete table inet another",
        "nft add table ip ramnet",
        "nft delete table ip ramnet",
        "ip route add 198.18.0.0/15 dev lo",
        "ip route del 198.18.0.0/15 dev lo",
    ):
        hosts[0].run(command.split()).check()
    hosts[0].run(["nft", "flush ruleset"]).check()
    mending.wait_told("our table was removed")
    assert len(mending.told) == 1


def test_our_own_sets_are_no_news(hosts: Hosts, mending: Mending) -> None:
    with hosts[0].socket() as service:
        service.bind(("127.0.0.1", 7777))
        service.listen()
        mending.enforcer.refresh()
    mending.enforcer.refresh()
    hosts[0].run(["nft", "flush ruleset"]).check()
    mending.wait_told("our table was removed")
    assert len(mending.told) == 1


def test_a_storm_is_survived_and_ends_closed(hosts: Hosts, mending: Mending, wire: Wire) -> None:
    before = listing(hosts[0])
    storm = "for i in $(seq 60); do nft flush ruleset; done"
    hosts[0].run(["sh", "-c", storm]).check()
    wait_until("the rules are whole", mending.enforcer.intact, _PATIENCE)
    assert listing(hosts[0]) == before
    assert len(mending.told) <= SENTENCES


def test_a_connection_that_got_out_meanwhile_is_cut(
    hosts: Hosts, enforcer: Enforcer, wire: Wire
) -> None:
    enforcer.install()
    hosts[0].run(["nft", "flush ruleset"]).check()
    with hosts[1].socket() as server, client(hosts[0], socket.AF_INET) as ours:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((FAR4, 8080))
        server.listen()
        ours.connect((FAR4, 8080))
        theirs, _ = server.accept()
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            assert wire.sent()  # the handshake
            enforcer.restore(sets=False)
            theirs.send(b"more of it")
            with pytest.raises(ConnectionResetError):
                while ours.recv(64):
                    ours.send(b"secret")
    assert wire.sent() == []


def test_a_new_version_takes_over_in_one_transaction(
    hosts: Hosts, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade: other text, same table; the old rules stand until the new ones do."""
    from ramnet import ruleset

    old = new_enforcer(hosts[0], tmp_path)
    old.install()
    old.close()
    render = ruleset.render_table

    def newer(situation: ruleset.Situation) -> str:
        extra = "\tchain newer {\n\t}\n}\n"
        return render(situation).rstrip().removesuffix("}") + extra

    stop = threading.Event()

    def probe() -> None:
        while not stop.is_set():
            with (
                client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as sock,
                contextlib.suppress(OSError),
            ):
                sock.sendto(b"leak?", (FAR4, 443))

    thread = threading.Thread(target=probe)
    thread.start()
    monkeypatch.setattr(ruleset, "render_table", newer)
    enforcer = new_enforcer(hosts[0], tmp_path)
    try:
        enforcer.install()
        assert "chain newer" in listing(hosts[0])
    finally:
        stop.set()
        thread.join()
        sent = wire.sent()
        enforcer.remove()
    assert sent == []


@pytest.mark.parametrize("_", range(5))  # each with a mender that has not mended just now
def test_how_long_a_flush_is_open(hosts: Hosts, mending: Mending, wire: Wire, _: int) -> None:
    """Another tool's flush cannot be prevented here, only undone: the window is measured."""
    leaks: list[float] = []
    stop = threading.Event()

    def probe() -> None:
        while not stop.wait(0.0005):
            with (
                client(hosts[0], socket.AF_INET, socket.SOCK_DGRAM) as sock,
                contextlib.suppress(OSError),
            ):
                sock.sendto(b"leak?", (FAR4, 443))
                leaks.append(time.monotonic())

    thread = threading.Thread(target=probe)
    thread.start()
    hosts[0].run(["nft", "flush ruleset"]).check()
    wait_until("the mending was told", lambda: mending.told)
    stop.set()
    thread.join()
    assert bool(wire.sent()) is bool(leaks)
    window = 1000 * (leaks[-1] - leaks[0]) if leaks else 0.0
    print(f"window after a flush: {window:.1f} ms")
    assert mending.enforcer.intact()
