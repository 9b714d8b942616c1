"""Facts about the dockerd of this machine: which proxies its own configuration names."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ramnet.caveats.facts import DockerProxy

DAEMON_JSON: Final = Path("/etc/docker/daemon.json")
_MAX_BYTES: Final = 1 << 20
_NEEDED: Final = 1 << 12 | 1 << 21  # CAP_NET_ADMIN, CAP_SYS_ADMIN
_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
"""As net/http ProxyFromEnvironment reads them."""


def gather_proxies(
    daemon_json: Path = DAEMON_JSON, proc: Path = Path("/proc")
) -> list[DockerProxy]:
    """From daemon.json and the environment of every dockerd of root's in view.

    Anybody can call a process dockerd and fill its environment, so others' are not believed, and
    of each only what getenv(3) would find.

    Where a file cannot be read or makes no sense, dockerd has that trouble, not we.
    """
    return [*_configured(daemon_json), *_in_environments(proc)]


def _configured(path: Path) -> Iterator[DockerProxy]:
    try:
        document = json.loads(read_bounded(path))
    except ValueError:
        return
    proxies = document.get("proxies") if isinstance(document, dict) else None
    if not isinstance(proxies, dict):
        return
    for key in ("http-proxy", "https-proxy"):
        if isinstance(proxies.get(key), str) and proxies[key]:
            yield DockerProxy(f"{path}: proxies.{key}", proxies[key])


def _in_environments(proc: Path) -> Iterator[DockerProxy]:
    for directory in proc.glob("[0-9]*"):
        if not is_dockerd(directory):
            continue
        found: dict[str, str] = {}
        for setting in read_bounded(directory / "environ").decode(errors="replace").split("\0"):
            name, _, url = setting.partition("=")
            if name in _VARIABLES and url:
                found.setdefault(name, url)
        for name, url in found.items():
            yield DockerProxy(f"environment of dockerd ({directory.name}): {name}", url)


def is_dockerd(directory: Path) -> bool:
    """Whether a directory of /proc is a dockerd of root's, which may do what dockerd does.

    By its real uid; who owns the directory says less (prctl(2), PR_SET_DUMPABLE). Root of a
    container is uid 0 too, and calls a process what it likes: without privileges it may not mount
    or configure a network (capabilities(7)), but for a user namespace of its own.
    """
    if read_bounded(directory / "comm").strip() != b"dockerd":
        return False
    status = read_bounded(directory / "status").decode(errors="replace")
    if re.search(r"^Uid:\s+0\s", status, re.MULTILINE) is None:
        return False
    effective = re.search(r"^CapEff:\s+([0-9a-f]+)$", status, re.MULTILINE)
    if effective is not None and int(effective[1], 16) & _NEEDED != _NEEDED:
        return False
    try:
        return (directory / "ns/user").stat().st_ino == Path("/proc/self/ns/user").stat().st_ino
    except OSError:  # not ours to see
        return True


def read_bounded(path: Path) -> bytes:
    """The beginning of a file; nothing where it cannot be read."""
    try:
        return read_or_raise(path)
    except OSError:
        return b""


def read_or_raise(path: Path) -> bytes:
    """The beginning of a file. Raises OSError."""
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)
