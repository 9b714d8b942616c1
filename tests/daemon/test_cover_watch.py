"""Several dockerds in one namespace, as stand-ins that can be made to fall silent; real ones are in
tests/system/test_cover.py."""

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ramnet.config import Config, Scope
from ramnet.daemon import cover_watch
from ramnet.daemon.cover_watch import CoverWatch
from ramnet.kernel.docker_daemons import RunningDocker
from ramnet.kernel.surroundings import Near
from ramnet.ruleset.cover import Covered

OK = b"HTTP/1.0 200 OK\r\n\r\n"


class StandIn:
    """A dockerd with a builder and, unless that is alone, another container on the same bridge."""

    def __init__(self, folder: Path, pid: int, *, alone: bool = False) -> None:
        self.docker = RunningDocker(folder / str(pid), f"/run/{pid}.sock", names_dns=False)
        self.path = self.docker.inside(self.docker.socket)
        self.path.parent.mkdir(parents=True)
        self.bridge, self.builder, self.other = f"br{pid}", f"10.0.{pid}.2", f"10.0.{pid}.3"
        self._pid, self._alone = pid, alone
        self.silent = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readline()).split()[1].decode()
        with contextlib.suppress(ConnectionError):
            if self.silent.is_set():
                writer.write(b"HTTP/1.0 500 No\r\n\r\n")
            elif target.startswith("/events"):
                writer.write(OK)
                await writer.drain()
                await self.silent.wait()
            else:
                writer.write(OK + json.dumps(self._answer(target)).encode())
            writer.close()

    def _answer(self, target: str) -> Any:
        if target.startswith("/containers/json"):
            return [
                {"Id": f"{name}{self._pid}", "Names": [f"/{name}"], "HostConfig": {}}
                for name in (f"buildx_buildkit_{self._pid}", "other")
            ]
        ends = {
            f"buildx_buildkit_{self._pid}{self._pid}": {"IPv4Address": f"{self.builder}/24"},
            f"other{self._pid}": {"IPv4Address": f"{self.other}/24"},
        }
        if self._alone:
            del ends[f"other{self._pid}"]
        network = {
            "Id": f"net{self._pid}",
            "Name": "bridge",
            "Driver": "bridge",
            "Options": {"com.docker.network.bridge.name": self.bridge},
            "Containers": ends,
        }
        return [network] if target == "/networks" else network


class Rules:
    """Keeps what it was told last."""

    def __init__(self) -> None:
        self.covered = Covered()
        self.watched, self.others = frozenset[str](), frozenset[str]()

    def follow(self, watched: frozenset[str], others: frozenset[str]) -> None:
        self.watched, self.others = watched, others

    def watch_also(self, bridges: frozenset[str]) -> None:
        self.watched |= bridges


class Enforcing:
    """A scope of this process's own namespace."""

    def __init__(self) -> None:
        self.scope = Scope(name="dockerd", containers=["buildx"])
        self.cover: Any = Rules()
        self.namespace_descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.near = Near()


class Place:
    """The watch, and those dockerds that are there."""

    def __init__(self, folder: Path) -> None:
        self.enforcing = Enforcing()
        self.rules: Rules = self.enforcing.cover
        self.said: list[str] = []
        config = Config(policy="/none", scopes=[self.enforcing.scope], state_dir=str(folder))
        self.watch = CoverWatch(config, self.enforcing, "dockerd", self.said.append)
        self.here: list[StandIn] = []

    def find(self) -> list[RunningDocker]:
        return [each.docker for each in self.here]

    @contextlib.asynccontextmanager
    async def at_work(self, *dockers: StandIn) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as servers:
            for each in dockers:
                self.here.append(each)
                server = await asyncio.start_unix_server(each.serve, each.path)
                await servers.enter_async_context(server)
            self.watch.start()
            try:
                yield
            finally:
                self.watch.stop()
                for each in dockers:
                    each.silent.set()
                os.close(self.enforcing.namespace_descriptor)


async def comes(held: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not held():
            await asyncio.sleep(0.01)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, seconds in (("LOOK", 0.05), ("LOOK_AGAIN", 0.05), ("RENEW", 0.1), ("HEARD", 1.0)):
        monkeypatch.setattr(cover_watch, name, seconds)
    with tempfile.TemporaryDirectory(prefix="r-") as name:
        place = Place(Path(name))
        monkeypatch.setattr(place.watch, "_find", place.find)
        monkeypatch.setattr(place.watch, "_is_here", lambda docker: docker in place.find())
        yield place


def pair(place: Place) -> tuple[StandIn, StandIn]:
    folder = place.watch._file.parent
    return StandIn(folder, 7), StandIn(folder, 8)


def test_all_of_them_are_heard(place: Place) -> None:
    async def run() -> None:
        one, two = pair(place)
        async with place.at_work(one, two):
            await comes(lambda: place.rules.others == {one.other, two.other})
            assert place.rules.watched == {"br7", "br8"}
            await comes(lambda: place.watch.describe()["problem"] is None)
            names = {"buildx_buildkit_7", "buildx_buildkit_8"}
            assert set(place.watch.describe()["covered"].values()) == names
        kept = json.loads(place.watch._file.read_text())
        assert kept == ["br7", "br8"]

    asyncio.run(run())


def test_the_word_of_one_that_is_silent_ends_while_others_speak(place: Place) -> None:
    """Else the events of one would prolong for ever what another said once."""

    async def run() -> None:
        one, two = pair(place)
        async with place.at_work(one, two):
            await comes(lambda: place.rules.others == {one.other, two.other})
            one.silent.set()
            await comes(lambda: place.rules.others == {two.other})
            assert place.rules.watched == {"br7", "br8"}, "all on its bridge is covered"
            assert place.watch.describe()["problem"].startswith("dockerd (pid 7): ")

    asyncio.run(run())


def test_one_that_went_leaves_its_bridge_covered_until_it_is_back(place: Place) -> None:
    async def run() -> None:
        one, two = pair(place)
        async with place.at_work(one, two):
            await comes(lambda: place.rules.others == {one.other, two.other})
            place.here.remove(one)
            one.silent.set()
            await comes(lambda: place.rules.others == {two.other})
            assert place.rules.watched == {"br7", "br8"}
            await comes(lambda: place.watch.describe()["problem"] is None)
            assert "buildx_buildkit_7" in place.watch.describe()["covered"].values()
            one.silent.clear()
            place.here.append(one)
            await comes(lambda: place.rules.others == {one.other, two.other})

    asyncio.run(run())


def test_a_bridge_that_leads_out_is_told_when_it_begins_to(place: Place) -> None:
    async def run() -> None:
        one = StandIn(place.watch._file.parent, 7, alone=True)
        async with place.at_work(one):
            await comes(lambda: bool(place.watch.describe()["covered"]))
            place.enforcing.near = Near(outward=frozenset({("br7", "its port eth0")}))
            await comes(lambda: not place.watch.describe()["covered"])
            assert place.watch.describe()["not_covered"].keys() == {"buildx_buildkit_7"}
            assert any("NOT covered: bridge br7 leads out" in line for line in place.said)

    asyncio.run(run())
