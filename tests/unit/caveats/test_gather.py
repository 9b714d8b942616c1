"""Facts as they are read: from sockets that answer oddly, and from files that their owners set."""

import contextlib
import json
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.caveats.facts import Builder, Container, SocketAccess, Unseen
from ramnet.kernel import docker_api, docker_facts
from ramnet.kernel.accounts import gather_homes, socket_access
from ramnet.kernel.docker_api import DockerApi, DockerApiError
from ramnet.kernel.docker_facts import gather_dockers

INSPECTED = {
    "Name": "/app\x1b[31m",
    "Config": {"Image": "app:1", "Labels": None, "Env": ["A=b=c", "D"]},
    "HostConfig": {"NetworkMode": "host", "UTSMode": "host", "CapAdd": ["CAP_SYS_ADMIN"]},
    "State": {"Running": True},
    "Mounts": [{"Source": "/run/docker.sock"}, {"Type": "volume"}],
}
INFO = {
    "RegistryConfig": {
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8", "198.51.100.0/24"],
        "IndexConfigs": {
            "docker.io": {"Mirrors": ["https://mirror.example/"], "Secure": True},
            "plain.example": {"Mirrors": None, "Secure": False},
        },
    },
    "HttpProxy": "http://p:1",
    "HttpsProxy": "",
    "NoProxy": "past.example",
}


def answer(body: object, status: str = "200 OK") -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n".encode() + text


@contextlib.contextmanager
def serving(path: Path, answers: dict[str, bytes]) -> Iterator[None]:
    """A stand-in for dockerd; what it has no answer for is not found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                client, _ = server.accept()
                with client, contextlib.suppress(OSError):
                    target = client.recv(4096).split()[1].decode()
                    if target == "/end":
                        return
                    client.sendall(answers.get(target, answer({}, "404 Not Found")))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            with contextlib.suppress(DockerApiError):
                DockerApi(path).get("/end", dict)
            thread.join()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="r-") as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "was answered with status None"),
        (b"SSH-2.0-x\r\n", "was answered with status None"),
        (answer({}, "500 Oh"), "was answered with status 500"),
        (answer({}, "1e9 Oh"), "was answered with status None"),
        (answer(b""), "makes no sense"),
        (answer(b"{"), "makes no sense"),
        (answer(b"\xff"), "makes no sense"),
        (answer(b"[" * 200000), "makes no sense"),
        (answer({"Version": 5}), "makes no sense"),
    ],
)
def test_an_answer_that_cannot_be_used(folder: Path, given: bytes, words: str) -> None:
    path = folder / "d.sock"
    with (
        serving(path, {"/version": given}),
        pytest.raises(DockerApiError, match=words) as raised,
    ):
        DockerApi(path).get("/version", dict[str, str])
    assert len(str(raised.value)) < 300


def test_an_answer_without_end_is_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_api, "MAX_ANSWER", 1 << 20)
    path = folder / "d.sock"
    with (
        serving(path, {"/version": answer(b" " * (2 << 20))}),
        pytest.raises(DockerApiError, match="more than 1 MiB"),
    ):
        DockerApi(path).get("/version", dict[str, str])


def test_nobody_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_api, "ANSWERS_WITHIN", 0.05)
    path = folder / "d.sock"
    with pytest.raises(DockerApiError, match="No such file"):
        DockerApi(path).get("/version", dict[str, str])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(DockerApiError, match=r"no answer to /version within 0\.05 s"):
            DockerApi(path).get("/version", dict[str, str])
    with pytest.raises(DockerApiError, match="too long"):
        DockerApi(folder / ("x" * 200)).get("/version", dict[str, str])


def _proc(folder: Path) -> Path:
    """A dockerd in a /proc of its own; returns the socket's place."""
    process = folder / "7"
    (process / "root" / "run").mkdir(parents=True)
    (process / "comm").write_text("dockerd\n")
    (process / "status").write_text("Uid:\t0\t0\t0\t0\n")
    (process / "cmdline").write_bytes(b"dockerd\0")
    return process / "root" / "run" / "docker.sock"


def test_what_dockerd_says(folder: Path) -> None:
    answers = {
        "/version": answer({"Version": "28.5.2"}),
        "/info": answer(INFO),
        "/containers/json?all=1": answer([{"Id": "a1"}, {"Id": "gone"}]),
        "/containers/a1/json": answer(INSPECTED),
    }
    with serving(_proc(folder), answers):
        (docker,) = gather_dockers(folder)
    assert docker.daemon.version == "28.5.2"
    assert not isinstance(docker.registries, Unseen)
    assert docker.registries.insecure == ("198.51.100.0/24", "plain.example")
    assert docker.registries.mirrors == ("https://mirror.example/",)
    assert docker.registries.proxies == ("http://p:1",)
    assert docker.containers == (
        Container(
            identity="a1",
            name="app\x1b[31m",
            image="app:1",
            capabilities=("SYS_ADMIN",),
            namespaces=("network", "uts"),
            mounts=("/run/docker.sock",),
            variables=(("A", "b=c"), ("D", "")),
        ),
    )
    assert isinstance(docker.netns, Unseen)


IMAGES = [
    {"Id": "sha256:1", "RepoTags": ["pulled:1"], "RepoDigests": ["pulled@sha256:1"]},
    {"Id": "sha256:2", "RepoTags": ["loaded:1"], "RepoDigests": []},
    {"Id": "sha256:3", "RepoTags": ["older:1"], "RepoDigests": ["<none>@<none>"]},
    {"Id": "sha256:4", "RepoTags": None, "RepoDigests": None},
]


def test_images_that_came_by_no_registry(folder: Path) -> None:
    answers = {"/info": answer(INFO), "/images/json": answer(IMAGES)}
    with serving(_proc(folder), answers):
        (docker,) = gather_dockers(folder)
    assert docker.fileborn == ("loaded:1", "older:1", "sha256:4")


def test_images_in_a_store_that_does_not_tell(folder: Path) -> None:
    status = [["driver-type", "io.containerd.snapshotter.v1"]]
    answers = {"/info": answer({**INFO, "DriverStatus": status}), "/images/json": answer(IMAGES)}
    with serving(_proc(folder), answers):
        (docker,) = gather_dockers(folder)
    assert isinstance(docker.fileborn, Unseen)
    assert "does not tell where one is from" in docker.fileborn.reason


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (answer([{"Id": "../../info"}]), "id makes no sense"),
        (answer([{"Id": "a1"}]), "answer to /containers/a1/json makes no sense"),
        (answer([{"Id": f"{n}"} for n in range(300)]), "300, more than 256"),
        (answer({"message": "no"}, "403 Forbidden"), "status 403"),
    ],
)
def test_containers_that_cannot_be_told(folder: Path, listed: bytes, words: str) -> None:
    answers = {"/containers/json?all=1": listed, "/containers/a1/json": answer({"Name": 1})}
    with serving(_proc(folder), answers):
        (docker,) = gather_dockers(folder)
    assert isinstance(docker.containers, Unseen)
    assert docker.containers.reason.startswith("containers of dockerd (pid 7): ")
    assert words in docker.containers.reason


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ('server = "https://a"\n[host."https://b"]\n', ("https://a", "https://b")),
        ("server = 1\nhost = 2\n", ()),
        ("[", Unseen("it is not TOML")),
    ],
)
def test_hosts_toml(folder: Path, text: str, servers: tuple[str, ...] | Unseen) -> None:
    _proc(folder)
    directory = folder / "7/root/etc/docker/certs.d/h.example"
    directory.mkdir(parents=True)
    (directory / "hosts.toml").write_text(text)
    (directory.parent / "plain.example").mkdir()
    (docker,) = gather_dockers(folder)
    assert not isinstance(docker.redirections, Unseen)
    (each,) = docker.redirections
    assert (each.host, each.servers) == ("h.example", servers)


def _socket(root: Path, mode: int, nsswitch: str = "files systemd") -> None:
    (root / "etc").mkdir()
    (root / "etc/group").write_text(f"odd\nowners:x:{os.getgid()}:ann,root\n")
    (root / "etc/passwd").write_text(
        f"root:x:0:0::/root:/bin/sh\nbob:x:1000:{os.getgid()}::/home/bob:/bin/sh\nodd:x\n"
    )
    (root / "etc/nsswitch.conf").write_text(f"# group: ldap\ngroup: {nsswitch} # ldap\n")
    (root / "d.sock").touch()
    (root / "d.sock").chmod(stat.S_IFREG | mode)


def test_who_may_speak_to_docker(tmp_path: Path) -> None:
    _socket(tmp_path, 0o660)
    assert socket_access(tmp_path, "/d.sock") == SocketAccess(
        "/d.sock", "owners", ("ann", "bob"), anybody=False
    )
    (tmp_path / "d.sock").chmod(0o606)
    assert socket_access(tmp_path, "/d.sock") == SocketAccess("/d.sock", None, (), anybody=True)
    (tmp_path / "d.sock").unlink()
    assert socket_access(tmp_path, "/d.sock") == Unseen("/d.sock: No such file or directory")


def test_groups_that_stand_in_no_file(tmp_path: Path) -> None:
    _socket(tmp_path, 0o660, "files [NOTFOUND=continue] sss")
    (tmp_path / "etc/group").write_text(f"owners:x:{os.getgid()}:\n")
    (tmp_path / "etc/passwd").write_text("")
    assert socket_access(tmp_path, "/d.sock") == Unseen("members of group owners that sss may name")


def test_accounts_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    _socket(tmp_path, 0o660)
    for name in ("group", "passwd"):
        (tmp_path / "etc" / name).unlink()
    said = socket_access(tmp_path, "/d.sock")
    assert isinstance(said, Unseen)
    assert f"{tmp_path}/etc/group: No such file" in said.reason
    (reason,) = gather_homes(tmp_path).unread
    assert reason == f"{tmp_path}/etc/passwd: No such file or directory"


def test_homes_of_users_who_stand_in_no_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("")
    (tmp_path / "etc/nsswitch.conf").write_text("passwd: files sss\n")
    assert gather_homes(tmp_path).unread == ("homes of users that sss may name",)


def test_more_builders_than_are_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("ann:x:1:1::/ann:/x\n")
    instances = tmp_path / "ann/.docker/buildx/instances"
    instances.mkdir(parents=True)
    for number in range(65):
        (instances / f"b{number}").write_text('{"Driver": "docker"}')
    (reason,) = gather_homes(tmp_path).unread
    assert reason == "/ann/.docker/buildx/instances: 65 files, more than 64"


def test_a_hosts_toml_that_cannot_be_read_is_not_taken_for_an_empty_one(folder: Path) -> None:
    _proc(folder)
    (folder / "7/root/etc/docker/certs.d/h.example/hosts.toml").mkdir(parents=True)
    (docker,) = gather_dockers(folder)
    assert not isinstance(docker.redirections, Unseen)
    assert docker.redirections[0].servers == Unseen("Is a directory")


def test_homes(tmp_path: Path) -> None:
    """A home may hold anything; no link is followed and no pipe is waited for."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("ann:x:1:1::/home/ann:/x\nnone:x:2:2::/nonexistent:/x\n")
    instances = tmp_path / "home/ann/.docker/buildx/instances"
    instances.mkdir(parents=True)
    (instances / "far").write_text('{"Driver": "kubernetes"}')
    (instances / "odd").write_text("[]")
    os.mkfifo(instances / "pipe")
    (instances / "link").symlink_to(instances / "far")
    (tmp_path / "home/ann/.kube").mkdir()
    (tmp_path / "home/ann/.kube/config").symlink_to("/dev/zero")
    plugin = tmp_path / "home/ann/.docker/cli-plugins/docker-debug"
    plugin.parent.mkdir()
    plugin.symlink_to("/nowhere")
    for_all = tmp_path / "usr/libexec/docker/cli-plugins/docker-debug"
    for_all.parent.mkdir(parents=True)
    for_all.touch()
    homes = gather_homes(tmp_path)
    assert homes.debuggers == tuple(f"/{path.relative_to(tmp_path)}" for path in (for_all, plugin))
    at = "/home/ann/.docker/buildx/instances"
    assert homes.builders == (
        Builder(f"{at}/far", "kubernetes"),
        Builder(f"{at}/link", Unseen("Too many levels of symbolic links")),
        Builder(f"{at}/odd", Unseen("it is no builder of buildx's")),
        Builder(f"{at}/pipe", Unseen("it is no plain file")),
    )
    assert homes.kubeconfigs == ("/home/ann/.kube/config",)
    assert homes.unread == ()


def test_a_dockerd_that_takes_its_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_facts, "CONTAINERS_WITHIN", -1.0)
    answers = {"/containers/json?all=1": answer([{"Id": "a1"}])}
    with serving(_proc(folder), answers):
        (docker,) = gather_dockers(folder)
    assert isinstance(docker.containers, Unseen)
    assert "longer than" in docker.containers.reason
