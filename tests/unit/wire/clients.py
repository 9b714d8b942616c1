"""Runs real TLS and HTTP clients against a socket on loopback and keeps what they send first."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from ramnet.wire.result import NeedMore

R = TypeVar("R")
PATIENCE = 20.0
"""Seconds within which a client has connected and sent its first message."""


@dataclass
class Caught:
    """A connection of a client that is being waited for or has come."""

    connection: socket.socket

    def read(self, reader: Callable[[bytes], R]) -> tuple[bytes, R]:
        """Receive until ``reader`` no longer asks for more, never past what it asked for."""
        data = b""
        while isinstance(result := reader(data), NeedMore):
            received = self.connection.recv(result.total - len(data))
            if not received:
                break
            data += received
        return data, result


def need(program: str) -> str:
    """The path of ``program``; without it the test is skipped, and fails where CI is set."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path:
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is not installed")
    pytest.skip(f"{program} is not installed")


@contextmanager
def caught(argv_for: Callable[[int], Sequence[str]], **environment: str) -> Iterator[Caught]:
    """Start ``argv_for(port)``, wait for its connection to ``port``, end it afterwards.

    ``{port}`` in the values of ``environment`` is replaced too.
    """
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as home:
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        argv = argv_for(port)
        process = subprocess.Popen(
            [need(argv[0]), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": home}
            | {key: value.format(port=port) for key, value in environment.items()},
        )
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(PATIENCE)
                yield Caught(connection)
        finally:
            process.kill()
            process.wait()


def registry_mirror(directory: Path) -> list[str]:
    """docker-registry (Go) as a mirror of https://registry.example, which it asks at start."""
    configuration = directory / "registry.yml"
    configuration.write_text(
        "version: 0.1\n"
        "log: {level: error}\n"
        "storage: {inmemory: {}}\n"
        "http: {addr: '127.0.0.1:0'}\n"
        "proxy: {remoteurl: 'https://registry.example'}\n"
    )
    return ["docker-registry", "serve", str(configuration)]
