"""Facts about each dockerd of this machine: its version, and where its containers ask for names.

Read from the process itself (its command line, its own root directory) and from its API, since a
configuration file that no dockerd reads says nothing. dockerd is root's, so its answers are
believed as far as their form is; they are bounded all the same.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from ramnet.caveats.facts import DockerDaemon
from ramnet.kernel.docker import is_dockerd, read_bounded
from ramnet.kernel.docker_api import DockerApi, DockerApiError

_DEFAULT_CONFIG: Final = "/etc/docker/daemon.json"
_DEFAULT_SOCKET: Final = "/run/docker.sock"
"""``/var/run`` is a link, and an absolute one would lead out of dockerd's own root."""


class _Version(msgspec.Struct, rename="pascal"):
    version: str


@dataclass(frozen=True, slots=True)
class RunningDocker:
    """A dockerd and where it is to be found.

    Attributes:
        directory: the process in /proc.
        socket: of its API, as it sees it.
        names_dns: as ``DockerDaemon.names_dns``.
    """

    directory: Path
    socket: str
    names_dns: bool

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self.directory.name)

    @property
    def api(self) -> DockerApi:
        """Its API."""
        return DockerApi(self.inside(self.socket))

    def inside(self, path: str) -> Path:
        """An absolute path as this dockerd sees it."""
        return self.directory / "root" / path.lstrip("/")

    def daemon(self) -> DockerDaemon:
        """What it is, with the version that its API tells."""
        try:
            version: str | None = self.api.get("/version", _Version).version
        except DockerApiError:
            version = None
        return DockerDaemon(self.pid, version, self.names_dns)


def running_dockers(proc: Path = Path("/proc")) -> list[RunningDocker]:
    """Every dockerd of root's in view."""
    return [_running(each) for each in sorted(proc.glob("[0-9]*")) if is_dockerd(each)]


def gather_daemons(proc: Path = Path("/proc")) -> list[DockerDaemon]:
    """The same, each asked for its version."""
    return [each.daemon() for each in running_dockers(proc)]


def _running(directory: Path) -> RunningDocker:
    options = dict(_options(read_bounded(directory / "cmdline").decode(errors="replace")))
    path = options.get("config-file", _DEFAULT_CONFIG)
    document = _document(directory / "root" / path.lstrip("/"))
    hosts = document.get("hosts")
    named = [options.get("host", ""), *(hosts if isinstance(hosts, list) else ())]
    return RunningDocker(directory, _socket(named), bool(document.get("dns")) or "dns" in options)


def _socket(named: list[object]) -> str:
    paths = [str(each).removeprefix("unix://") for each in named if str(each).startswith("unix://")]
    return paths[0].replace("/var/run/", "/run/") if paths else _DEFAULT_SOCKET


def _options(cmdline: str) -> Iterator[tuple[str, str]]:
    """``--name value`` and ``--name=value`` (pflag); ``-H`` is ``--host``."""
    words = [word for word in cmdline.split("\0")[1:] if word]
    for word, following in pairwise([*words, ""]):
        if not word.startswith("-"):
            continue
        name, sign, value = word.lstrip("-").partition("=")
        yield ("host" if name == "H" else name, value if sign else following)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_bounded(path))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
