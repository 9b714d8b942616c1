"""Containers that fetch images past every scope are told as soon as Docker makes one.

``GET /events`` of the Engine API, from a second before we asked, so that nothing falls between
the look at what is there and the first event. dockerd's end ends the stream; a new one is found by
the look for processes.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import quote

import msgspec

from ramnet.caveats.caveat import bounded
from ramnet.caveats.containers import passes_by
from ramnet.caveats.facts import Container, Unseen
from ramnet.kernel.docker_api import DockerApiError
from ramnet.kernel.docker_daemons import RunningDocker, running_dockers
from ramnet.kernel.docker_facts import container_by_id, containers_of

LOOK: Final = 10.0
"""Seconds between two looks for a dockerd that is not followed yet."""
_MAX_LINE: Final = 1 << 20
_GONE: Final = "destroy"
_FILTER: Final = {"type": ["container"], "event": ["create", "start", "rename", _GONE]}


class _Actor(msgspec.Struct, rename="pascal"):
    id: str = msgspec.field(name="ID")


class _News(msgspec.Struct, rename="pascal"):
    action: str
    actor: _Actor


class BuilderWatch:
    """Follows every dockerd of root's, and keeps what its containers are."""

    def __init__(
        self,
        tell: Callable[[str], None],
        find: Callable[[], list[RunningDocker]] = running_dockers,
        meant: Callable[[Container], bool] = lambda _: False,
    ) -> None:
        """``tell`` is called once for each such container; ``meant``: a scope is to cover it,
        and tells itself where it does not."""
        self._tell, self._find, self._meant = tell, find, meant
        self._followed: dict[int, dict[str, str]] = {}

    @property
    def warnings(self) -> list[str]:
        """A sentence for each that is there now."""
        return [words for known in self._followed.values() for words in known.values()]

    async def run(self) -> None:
        """Follow them until cancelled."""
        async with asyncio.TaskGroup() as following:
            while True:
                for docker in await asyncio.to_thread(self._find):
                    if docker.pid not in self._followed:
                        self._followed[docker.pid] = {}
                        following.create_task(self._follow(docker))
                await asyncio.sleep(LOOK)

    async def _follow(self, docker: RunningDocker) -> None:
        known = self._followed[docker.pid]
        try:
            async for news in events(docker, _FILTER):
                await self._take(docker, known, news)
        except (OSError, ValueError, RecursionError, DockerApiError, msgspec.MsgspecError):
            return  # tried again at the next look; `ramnet caveats` says why it is unknown
        finally:
            del self._followed[docker.pid]

    async def _take(self, docker: RunningDocker, known: dict[str, str], news: _News | None) -> None:
        """One event; None is the beginning, when all are looked at."""
        if news is None:
            containers = await asyncio.to_thread(containers_of, docker)
            if not isinstance(containers, Unseen):  # else at least what comes is told
                for container in containers:
                    self._note(known, container.identity, container)
        elif news.action == _GONE:
            known.pop(news.actor.id, None)
        else:
            identity = news.actor.id
            found = await asyncio.to_thread(container_by_id, docker.api, identity)
            if found is not None:
                self._note(known, identity, found)

    def _note(self, known: dict[str, str], identity: str, container: Container) -> None:
        words = None if self._meant(container) else passes_by(container)
        if words is None:
            known.pop(identity, None)
            return
        (sentence,) = bounded([f"it fetches past every scope: {words}"])
        if known.get(identity) != sentence:
            known[identity] = sentence
            self._tell(sentence)


async def events(
    docker: RunningDocker, wanted: dict[str, list[str]], *, idle: float | None = None
) -> AsyncIterator[_News | None]:
    """None when the stream has begun, and after ``idle`` seconds without news; else what it tells.

    ``wanted``: the filters of ``GET /events``. Raises OSError, or ValueError for what is no event.
    """
    path = str(docker.inside(docker.socket))
    reader, writer = await asyncio.open_unix_connection(path, limit=_MAX_LINE)
    try:
        target = f"/events?since={int(time.time()) - 1}&filters={quote(json.dumps(wanted))}"
        writer.write(f"GET {target} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        if b" 200 " not in await reader.readline():
            return
        while (await reader.readline()).strip():
            continue
        yield None
        while True:
            try:
                async with asyncio.timeout(idle):
                    line = await reader.readline()
            except TimeoutError:
                yield None
                continue
            if not line:
                return
            yield msgspec.json.decode(line, type=_News)
    finally:
        writer.close()
