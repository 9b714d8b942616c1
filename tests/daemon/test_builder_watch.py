"""The stream of Docker's events, from a stand-in that says what no dockerd should."""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.daemon import builder_watch
from ramnet.daemon.builder_watch import BuilderWatch
from ramnet.kernel.docker_daemons import RunningDocker

BUILDER = {
    "Config": {"Image": "moby/buildkit"},
    "HostConfig": {},
    "State": {},
}
OK = b"HTTP/1.0 200 OK\r\n\r\n"


class StandIn:
    """Answers as told; a further stream of events waits until the one before has ended."""

    def __init__(self, folder: Path, streams: list[list[bytes]], listed: list[str]) -> None:
        self._streams, self._listed = iter(streams), listed
        self.docker = RunningDocker(folder / "7", "/run/docker.sock", names_dns=False)
        self.path = self.docker.inside("/run/docker.sock")
        self.path.parent.mkdir(parents=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readline()).split()[1].decode()
        if target.startswith("/events"):
            for piece in next(self._streams, [OK]):
                writer.write(piece)
                await writer.drain()
        elif target.startswith("/containers/json"):
            writer.write(OK + json.dumps([{"Id": each} for each in self._listed]).encode())
        else:
            named = {"Name": f"/buildx_buildkit_{target.split('/')[2]}\x1b[31m"}
            writer.write(OK + json.dumps(BUILDER | named).encode())
        writer.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="r-") as name:
        yield Path(name)


def watch_once(stand_in: StandIn, wanted: int) -> list[str]:
    """What is told until ``wanted`` sentences are, the streams one after another."""

    async def run() -> list[str]:
        told: list[str] = []
        enough = asyncio.Event()

        def tell(sentence: str) -> None:
            told.append(sentence)
            if len(told) >= wanted:
                enough.set()

        server = await asyncio.start_unix_server(stand_in.serve, stand_in.path)
        async with server:
            watch = BuilderWatch(tell, lambda: [stand_in.docker])
            running = asyncio.create_task(watch.run())
            async with asyncio.timeout(30):
                await enough.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return told

    return asyncio.run(run())


def event(action: str, identity: str) -> bytes:
    return json.dumps({"Action": action, "Actor": {"ID": identity}}).encode() + b"\n"


@pytest.mark.parametrize(
    "odd",
    [
        [],
        [b"HTTP/1.0 500 No\r\n\r\n"],
        [OK, b"{\n"],
        [OK, b"\xff\n"],
        [OK, b"[" * 100000 + b"\n"],
        [OK, b'{"Action": "create", "Actor": {}}\n'],
        [OK, event("create", "../../info")],
        [OK, b"x" * (2 << 20)],
    ],
    ids=range(8),
)
def test_what_is_no_event_ends_the_stream_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, odd: list[bytes]
) -> None:
    monkeypatch.setattr(builder_watch, "LOOK", 0.01)
    stand_in = StandIn(folder, [odd, [OK, event("create", "b1")]], [])
    (sentence,) = watch_once(stand_in, 1)
    assert sentence == (
        "it fetches past every scope: container buildx_buildkit_b1?[31m: BuildKit builder "
        "b1?[31m, image moby/buildkit"
    )


def test_each_is_told_once_and_again_when_it_was_gone(folder: Path) -> None:
    stream = [
        OK,
        event("create", "b1"),
        event("start", "b1"),
        event("destroy", "b1"),
        event("create", "b1"),
        event("create", "b2"),
    ]
    told = watch_once(StandIn(folder, [stream], ["b1"]), 3)
    assert ["b1" in sentence for sentence in told] == [True, True, False]
