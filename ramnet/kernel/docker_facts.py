"""Everything that the caveats want to know of one dockerd: by its API, its socket, its certs.d."""

import time
import tomllib
from pathlib import Path
from typing import Final

import msgspec

from ramnet.caveats.facts import Container, Docker, Redirection, Registries, Unseen
from ramnet.caveats.registries import on_loopback
from ramnet.kernel.accounts import socket_access
from ramnet.kernel.docker import read_or_raise
from ramnet.kernel.docker_api import DockerApi, DockerApiError
from ramnet.kernel.docker_daemons import RunningDocker, running_dockers

MAX_CONTAINERS: Final = 256
"""Containers that are asked about, one by one; more are not looked at."""
CONTAINERS_WITHIN: Final = 10.0
"""Seconds for all of them."""
_CERTS: Final = ("/etc/docker/certs.d", "/etc/containerd/certs.d")
_NOT_FOUND: Final = 404


class _Index(msgspec.Struct, frozen=True, rename="pascal"):
    mirrors: list[str] | None = None
    secure: bool = True


class _RegistryConfig(msgspec.Struct, frozen=True, rename="pascal"):
    networks: list[str] | None = msgspec.field(name="InsecureRegistryCIDRs", default=None)
    index_configs: dict[str, _Index] | None = None


class _Info(msgspec.Struct, frozen=True, rename="pascal"):
    registry_config: _RegistryConfig
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""


class _Store(msgspec.Struct, frozen=True, rename="pascal"):
    driver_status: list[list[str]] | None = None


class _Image(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None


class _Listed(msgspec.Struct, frozen=True, rename="pascal"):
    id: str


class _HostConfig(msgspec.Struct, frozen=True, rename="pascal"):
    network_mode: str = ""
    pid_mode: str = ""
    ipc_mode: str = ""
    uts_mode: str = msgspec.field(name="UTSMode", default="")
    privileged: bool = False
    cap_add: list[str] | None = None


class _Settings(msgspec.Struct, frozen=True, rename="pascal"):
    image: str = ""
    labels: dict[str, str] | None = None
    env: list[str] | None = None


class _Mount(msgspec.Struct, frozen=True, rename="pascal"):
    source: str = ""


class _State(msgspec.Struct, frozen=True, rename="pascal"):
    running: bool = False


class _Inspected(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    config: _Settings
    host_config: _HostConfig
    state: _State
    mounts: list[_Mount] | None = None


def gather_dockers(proc: Path = Path("/proc")) -> tuple[Docker, ...]:
    """Every dockerd of root's in view."""
    return tuple(_docker(each) for each in running_dockers(proc))


def _docker(running: RunningDocker) -> Docker:
    called = f"dockerd (pid {running.pid})"
    return Docker(
        daemon=running.daemon(),
        netns=_netns(running.directory, called),
        registries=_registries(running.api, called),
        containers=containers_of(running),
        access=socket_access(running.inside("/"), running.socket),
        redirections=_redirections(running.inside("/"), called),
        fileborn=_fileborn(running.api, f"images of {called}"),
    )


def _netns(directory: Path, called: str) -> int | Unseen:
    try:
        return (directory / "ns" / "net").stat().st_ino
    except OSError as error:
        return Unseen(f"network namespace of {called}: {error.strerror}")


def _registries(api: DockerApi, called: str) -> Registries | Unseen:
    """What is in force, whether it came from daemon.json, options or environment."""
    try:
        info = api.get("/info", _Info)
    except DockerApiError as error:
        return Unseen(f"configuration of {called}: {error}")
    indexes = info.registry_config.index_configs or {}
    networks = [n for n in info.registry_config.networks or () if not on_loopback(n)]
    hub = indexes.get("docker.io", _Index())
    return Registries(
        insecure=(*networks, *(name for name, index in indexes.items() if not index.secure)),
        mirrors=tuple(hub.mirrors or ()),
        proxies=tuple(filter(None, (info.http_proxy, info.https_proxy))),
        no_proxy=info.no_proxy,
    )


def _fileborn(api: DockerApi, called: str) -> tuple[str, ...] | Unseen:
    """Images without a registry's digest. containerd's store gives every image one."""
    try:
        store = api.get("/info", _Store).driver_status or ()
        if any(value.startswith("io.containerd.snapshotter") for row in store for value in row):
            return Unseen(f"{called}: containerd's store does not tell where one is from")
        images = api.get("/images/json", list[_Image])
    except DockerApiError as error:
        return Unseen(f"{called}: {error}")
    return tuple(
        (image.repo_tags or [image.id])[0]
        for image in images
        if not any("<none>" not in digest for digest in image.repo_digests or ())
    )


def containers_of(running: RunningDocker) -> tuple[Container, ...] | Unseen:
    """All of them, running or not."""
    api, called = running.api, f"containers of dockerd (pid {running.pid})"
    deadline = time.monotonic() + CONTAINERS_WITHIN
    found: list[Container] = []
    try:
        listed = api.get("/containers/json?all=1", list[_Listed])
        if len(listed) > MAX_CONTAINERS:
            return Unseen(f"{called}: {len(listed)}, more than {MAX_CONTAINERS}")
        for one in listed:
            if time.monotonic() > deadline:
                return Unseen(f"{called}: asking took longer than {CONTAINERS_WITHIN:g} s")
            container = container_by_id(api, one.id)
            found += [] if container is None else [container]
    except DockerApiError as error:
        return Unseen(f"{called}: {error}")
    return tuple(found)


def container_by_id(api: DockerApi, identity: str) -> Container | None:
    """One container; None where it is gone meanwhile.

    Raises:
        DockerApiError: its dockerd did not tell.
    """
    if not identity.isalnum():
        raise DockerApiError("a container's id makes no sense")
    try:
        return _container(identity, api.get(f"/containers/{identity}/json", _Inspected))
    except DockerApiError as error:
        if error.status == _NOT_FOUND:
            return None
        raise


def _container(identity: str, said: _Inspected) -> Container:
    host = said.host_config
    modes = ("network", host.network_mode), ("pid", host.pid_mode), ("ipc", host.ipc_mode)
    return Container(
        identity=identity,
        name=said.name.lstrip("/"),
        image=said.config.image,
        running=said.state.running,
        privileged=host.privileged,
        capabilities=tuple(name.upper().removeprefix("CAP_") for name in host.cap_add or ()),
        namespaces=tuple(name for name, mode in (*modes, ("uts", host.uts_mode)) if mode == "host"),
        mounts=tuple(mount.source for mount in said.mounts or () if mount.source),
        labels=tuple((said.config.labels or {}).items()),
        variables=tuple(_split(each) for each in said.config.env or ()),
    )


def _split(setting: str) -> tuple[str, str]:
    name, _, value = setting.partition("=")
    return name, value


def _redirections(root: Path, called: str) -> tuple[Redirection, ...] | Unseen:
    found: list[Redirection] = []
    for directory in _CERTS:
        try:
            hosts = sorted((root / directory.lstrip("/")).iterdir())
        except FileNotFoundError:
            continue
        except OSError as error:
            return Unseen(f"{directory} of {called}: {error.strerror}")
        found += [
            Redirection(f"{directory}/{host.name}/hosts.toml", host.name, _servers(file))
            for host in hosts
            if (file := host / "hosts.toml").exists()
        ]
    return tuple(found)


def _servers(file: Path) -> tuple[str, ...] | Unseen:
    """``server`` and the keys of ``[host]``, as containerd reads them."""
    try:
        table = tomllib.loads(read_or_raise(file).decode())
    except OSError as error:
        return Unseen(error.strerror or "cannot be read")
    except (ValueError, RecursionError):
        return Unseen("it is not TOML")
    server, hosts = table.get("server"), table.get("host")
    named = [server] if isinstance(server, str) else []
    return (*named, *(hosts if isinstance(hosts, dict) else ()))
