"""dockerd that asks for its containers' names itself: found on the machine, told with a remedy."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.caveats.embedded_dns import shared_dns
from ramnet.caveats.facts import DockerDaemon
from ramnet.config import Resolver
from ramnet.kernel.docker_daemons import gather_daemons
from tests.lab import Docker, Lab

NEW = DockerDaemon(7, "28.5.2", names_dns=False)


def test_shared() -> None:
    (sentence,) = shared_dns([NEW], Resolver())
    assert sentence == (
        "dockerd 28.5.2 (pid 7) itself asks for the names that containers on user-defined networks "
        'want, so they get the policy\'s answers; set "dns" in daemon.json, to a resolver that '
        "containers reach"
    )
    (sentence,) = shared_dns([NEW], Resolver(containers_dns="allow"))
    assert 'containers_dns = "allow" answers all of them' in sentence


@pytest.mark.parametrize(
    "daemon",
    [
        DockerDaemon(7, "20.10.24+dfsg1", names_dns=False),
        DockerDaemon(7, "27.5.1", names_dns=False),
        DockerDaemon(7, "28.5.2", names_dns=True),
        DockerDaemon(7, None, names_dns=False),
        DockerDaemon(7, "dev", names_dns=False),
    ],
    ids=str,
)
def test_not_shared_or_not_known(daemon: DockerDaemon) -> None:
    assert shared_dns([daemon], Resolver()) == []


def _process(proc: Path, cmdline: str, files: dict[str, str]) -> Path:
    directory = proc / "7"
    for path, text in files.items():
        (directory / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / "root" / path).write_text(text)
    directory.mkdir(exist_ok=True)
    (directory / "comm").write_text("dockerd\n")
    (directory / "status").write_text("Uid:\t0\t0\t0\t0\n")
    (directory / "cmdline").write_bytes(cmdline.replace(" ", "\0").encode())
    (directory / "root" / "run").mkdir(parents=True, exist_ok=True)
    return directory / "root"


@pytest.mark.parametrize(
    ("cmdline", "files"),
    [
        ("dockerd", {"etc/docker/daemon.json": '{"dns": ["192.0.2.53"]}'}),
        ("dockerd --config-file /etc/d.json", {"etc/d.json": '{"dns": ["192.0.2.53"]}'}),
        ("dockerd --config-file=/etc/d.json", {"etc/d.json": '{"dns": ["192.0.2.53"]}'}),
        ("dockerd --dns 192.0.2.53", {}),
        ("dockerd -D --dns=192.0.2.53", {}),
    ],
)
def test_name_servers_of_containers(tmp_path: Path, cmdline: str, files: dict[str, str]) -> None:
    _process(tmp_path, cmdline, files)
    assert gather_daemons(tmp_path) == [DockerDaemon(7, None, names_dns=True)]


@pytest.mark.parametrize(
    ("cmdline", "files"),
    [
        ("dockerd", {}),
        ("dockerd", {"etc/docker/daemon.json": '{"dns": []}'}),
        ("dockerd", {"etc/docker/daemon.json": "[]"}),
        ("dockerd", {"etc/docker/daemon.json": "{"}),
        ("dockerd --dns-search corp.example", {}),
        ("dockerd --config-file=/etc/d.json", {"etc/docker/daemon.json": '{"dns": ["1.2.3.4"]}'}),
    ],
)
def test_none_named(tmp_path: Path, cmdline: str, files: dict[str, str]) -> None:
    _process(tmp_path, cmdline, files)
    assert gather_daemons(tmp_path) == [DockerDaemon(7, None, names_dns=False)]


@pytest.fixture(params=["run/docker.sock", "run/other.sock"])
def api(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, str, bytes]]:
    """A stand-in for an API of a version that Debian does not have, at either end of its life."""
    path: str = request.param
    root = _process(tmp_path, f"dockerd -H unix:///var/{path}", {})
    reply = b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps({"Version": "28.5.2"}).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / path))
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield tmp_path, path, reply
        thread.join()


def test_the_version_is_what_the_api_says(api: tuple[Path, str, bytes]) -> None:
    assert gather_daemons(api[0]) == [DockerDaemon(7, "28.5.2", names_dns=False)]


@pytest.mark.lab
def test_a_real_dockerd(lab: Lab, docker: Docker) -> None:
    """The dockerd of this lab is among those in view, with the version its client is told."""
    version = docker.run("version", "--format", "{{.Server.Version}}").check().out.strip()
    assert version in {each.version for each in gather_daemons()}
