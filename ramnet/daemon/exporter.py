"""The child that Prometheus asks: unprivileged, and no part of what decides anything.

``python -I -m ramnet.daemon.exporter --listener=FD --channel=FD``. The supervisor has made the
listening socket. What a client sends is read here alone, by a uid of its own: the gate's is
excepted by the kernel's rules. For each answer the supervisor is asked for its status on a private
channel; it decides how often.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import msgspec
from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from ramnet.daemon.http_head import read_head
from ramnet.daemon.metric_families import families
from ramnet.daemon.metric_snapshot import Snapshot
from ramnet.errors import RamnetError
from ramnet.kernel.process import confine

METRICS_UID: Final = 60928
"""Beside the gate's, and like it in the range that no distribution hands out."""
PATH: Final = "/metrics"
MAX_HEAD: Final = 8192
MAX_CLIENTS: Final = 32
"""At once; of more the one that has come first is let go, so that slow ones stop nobody."""
TIME_LIMIT: Final = 10.0
"""Seconds for a client, from its connection to its answer."""
MEMORY: Final = 1 << 30
_MAX_SNAPSHOT: Final = 16 << 20
_snapshots = msgspec.json.Decoder(Snapshot)


class Asker:
    """Asks the supervisor; who asks while an answer is awaited shares it."""

    def __init__(self, supervisor: socket.socket) -> None:
        """``supervisor``: our end of the channel, non-blocking."""
        self._supervisor = supervisor
        self._waiting: list[asyncio.Future[Snapshot]] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(supervisor, self._readable)

    async def ask(self) -> Snapshot:
        """Raises OSError, or msgspec.DecodeError for what makes no sense."""
        waiting: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._supervisor.send(b"?")
        self._waiting.append(waiting)
        return await waiting

    def _readable(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._supervisor, 16, 1)
        if not data:
            asyncio.get_running_loop().remove_reader(self._supervisor)
            self.ended.set_result(None)
            return
        (fd,) = fds
        answered, self._waiting = self._waiting, []
        try:
            snapshot = _snapshots.decode(os.pread(fd, _MAX_SNAPSHOT, 0))
        except msgspec.DecodeError as error:
            for each in answered:
                if not each.done():
                    each.set_exception(error)
            return
        finally:
            os.close(fd)
        for each in answered:
            if not each.done():
                each.set_result(snapshot)


class Exporter:
    """Serves ``/metrics``."""

    def __init__(self, asker: Asker) -> None:
        """To be made inside the running loop."""
        self._asker = asker
        self._clients: dict[asyncio.Task[None], None] = {}  # the first to come first

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = None
        if len(self._clients) > MAX_CLIENTS:
            oldest = next(iter(self._clients))
            del self._clients[oldest]
            oldest.cancel()
        try:
            async with asyncio.timeout(TIME_LIMIT):
                writer.write(await self._answer(reader))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.CancelledError):
            writer.transport.abort()  # what is not read yet is not waited for
        finally:
            self._clients.pop(task, None)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        head, _ = await read_head(reader, MAX_HEAD)
        if head is None:
            return _error(HTTPStatus.BAD_REQUEST, "this is not an HTTP/1.1 request")
        if head.target.partition("?")[0] != PATH:
            return _error(HTTPStatus.NOT_FOUND, f"there is {PATH} alone")
        if head.method not in ("GET", "HEAD"):
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, f"{PATH} is read by GET")
        try:
            body = exposition(await self._asker.ask())
        except (OSError, ValueError) as error:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, f"the status cannot be had: {error}")
        return _encode(
            HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, body, head_only=head.method != "GET"
        )


class _Fixed(Collector):
    """What was collected already."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        return families(self._snapshot)


def exposition(snapshot: Snapshot) -> bytes:
    """The text format, version 0.0.4. Raises ValueError for a snapshot that makes no sense."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(snapshot))
    return generate_latest(registry)


def _error(status: HTTPStatus, sentence: str) -> bytes:
    return _encode(status, "text/plain; charset=utf-8", f"{sentence}\n".encode(), head_only=False)


def _encode(status: HTTPStatus, kind: str, body: bytes, *, head_only: bool) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + (b"" if head_only else body)


async def _serve(listener: socket.socket, channel: socket.socket) -> None:
    asker = Asker(channel)
    exporter = Exporter(asker)
    start = asyncio.start_unix_server if listener.family == socket.AF_UNIX else asyncio.start_server
    server = await start(exporter.client, sock=listener, limit=MAX_HEAD)
    await asker.ended
    server.close()


def main(arguments: list[str]) -> int:
    """Give up privileges and serve; returns when the supervisor is gone."""
    parser = argparse.ArgumentParser("ramnet-exporter")
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--channel", type=int, required=True)
    options = parser.parse_args(arguments)
    try:
        listener = socket.socket(fileno=options.listener)
        channel = socket.socket(fileno=options.channel)
        # Code that root alone may read is loaded before; what follows imports nothing.
        exposition(_snapshots.decode(_EXAMPLE))
        confine(METRICS_UID, METRICS_UID, memory=MEMORY)
        asyncio.run(_serve(listener, channel))
    except RamnetError as error:
        print(f"ramnet: metrics: {error}", file=sys.stderr)
        return error.exit_code
    return 0


_EXAMPLE: Final = b"""{"caveats": null, "status": {"state": "", "version": "", "scopes": [],
"warnings": [], "supervisor": {"uptime_s": 0}, "policy": {"version": null, "entries": null,
"age_s": null, "enforced": true}}}"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
