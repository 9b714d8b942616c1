"""Facts about each dockerd of this machine: its version, and where its containers ask for names.

Read from the process itself (its command line, its own root directory) and from its API, since a
configuration file that no dockerd reads says nothing. dockerd is root's, so its answers are
believed as far as their form is; they are bounded all the same.
"""

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from ramnet.kernel.docker import is_dockerd, read_bounded

_DEFAULT_CONFIG: Final = "/etc/docker/daemon.json"
_DEFAULT_SOCKET: Final = "/run/docker.sock"
"""``/var/run`` is a link, and an absolute one would lead out of dockerd's own root."""
_ANSWERS_WITHIN: Final = 2.0
"""Seconds."""
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class DockerDaemon:
    """One dockerd as it runs.

    Attributes:
        pid: as this process sees it.
        version: such as ``28.5.2``; None where its API did not say.
        names_dns: whether containers are given name servers (``dns`` in daemon.json, ``--dns``),
            so that the embedded resolver asks from the container and not from dockerd.
    """

    pid: int
    version: str | None
    names_dns: bool


def gather_daemons(proc: Path = Path("/proc")) -> list[DockerDaemon]:
    """Every dockerd of root's in view."""
    return [_daemon(each) for each in sorted(proc.glob("[0-9]*")) if is_dockerd(each)]


def _daemon(directory: Path) -> DockerDaemon:
    options = dict(_options(read_bounded(directory / "cmdline").decode(errors="replace")))
    root = directory / "root"
    document = _document(_inside(root, options.get("config-file", _DEFAULT_CONFIG)))
    hosts = document.get("hosts")
    named = [options.get("host", ""), *(hosts if isinstance(hosts, list) else ())]
    names_dns = bool(document.get("dns")) or "dns" in options
    return DockerDaemon(int(directory.name), _version(_inside(root, _socket(named))), names_dns)


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


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_bounded(path))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _version(path: Path) -> str | None:
    """What the Engine API says at ``GET /version``."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", "/version")
        said = json.loads(connection.getresponse().read(_MAX_BYTES))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    version = said.get("Version") if isinstance(said, dict) else None
    return version if isinstance(version, str) else None


class _UnixConnection(http.client.HTTPConnection):
    """To the API of one dockerd."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWERS_WITHIN)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_ANSWERS_WITHIN)
        self.sock.connect(str(self._path))
