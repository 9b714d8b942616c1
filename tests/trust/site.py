"""A repository under test: published by the real publisher, looked at by the real client."""

import shutil
import socket
import ssl
import time
from pathlib import Path

from ramnet.trust.bundle import Bundle
from ramnet.trust.client import Source, Verified, fetch, verify
from ramnet.trust.fetcher import HttpsFetcher
from ramnet.trust.keys import KeyFolder
from ramnet.trust.names import BASE
from ramnet.trust.publisher import Lifetimes, Repository
from ramnet.trust.roots import generate
from tests.trust.server import Server


def policy(version: int) -> bytes:
    return f'version = {version}\norganization = "acme"\n'.encode()


class Site:
    """Keys, a served folder and a machine's memory of it."""

    def __init__(self, folder: Path, server: Server, context: ssl.SSLContext) -> None:
        self.folder, self.server, self.context = folder, server, context
        self.keys = KeyFolder(folder / "keys")
        self.root = generate(self.keys).root.to_bytes()
        self.kept: Bundle | None = None
        self.fetcher: HttpsFetcher | None = None
        self.now = time.time()

    def publish(
        self, version: int, *, days: float = 7, groups: dict[str, bytes] | None = None
    ) -> None:
        documents = {BASE: policy(version)} | (groups or {})
        self.repository(days).publish(documents)

    def repository(self, days: float = 7) -> Repository:
        return Repository(self.server.folder, self.keys, Lifetimes(timestamp=days))

    def source(self, *groups: str) -> Source:
        return Source(self.server.url, self.root, groups)

    def fetch(self, *groups: str, seconds: float = 20) -> Verified:
        kept = self.kept
        timestamp = kept.metadata["timestamp.json"] if kept else b""
        self.fetcher = HttpsFetcher(
            lambda host, port: socket.create_connection((host, port), 20),
            self.context,
            deadline=time.monotonic() + seconds,
            timestamp=timestamp,
            etag=kept.etag if kept else "",
        )
        try:
            found = fetch(self.source(*groups), kept, self.fetcher, self.now)
        finally:
            self.fetcher.close()
        self.kept = found.bundle
        return found

    def verify(self, *groups: str) -> Verified:
        assert self.kept is not None
        return verify(self.source(*groups), self.kept)

    def save(self, name: str) -> Path:
        """A copy of what is served now, for an attacker to serve again."""
        copy = self.folder / name
        shutil.copytree(self.server.folder, copy)
        return copy

    def metadata(self, name: str) -> Path:
        return self.server.folder / "metadata" / name
