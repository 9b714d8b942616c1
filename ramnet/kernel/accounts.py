"""Facts about this machine's users: who may speak to Docker's socket, what lies in their homes.

Homes are their owners' to fill, so nothing but plain files is opened there, and never a link.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ramnet.caveats.facts import Builder, Homes, SocketAccess, Unseen
from ramnet.kernel.docker import read_bounded, read_or_raise

_MAX_FILES: Final = 64
_MAX_BYTES: Final = 1 << 20
_DEBUG: Final = "docker-debug"
_PLUGINS: Final = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
"""For all users; docker/cli, ``cli-plugins/manager``."""
_LOCAL_SOURCES: Final = frozenset({"files", "compat", "systemd"})
"""Of nsswitch.conf(5): what stands in files, and users that systemd makes up for services."""


class _User(NamedTuple):
    name: str
    group: int
    home: str


class _Instance(msgspec.Struct, frozen=True, rename="pascal"):
    driver: str


def socket_access(root: Path, socket: str) -> SocketAccess | Unseen:
    """By owner and mode of the socket, in the file system ``root`` of its dockerd."""
    try:
        found = (root / socket.lstrip("/")).stat()
    except OSError as error:
        return Unseen(f"{socket}: {error.strerror}")
    anybody = bool(found.st_mode & stat.S_IWOTH)
    if not found.st_mode & stat.S_IWGRP:
        return SocketAccess(socket, None, (), anybody)
    try:
        group, members = _group(root, found.st_gid)
    except OSError as error:
        return Unseen(f"who is in group {found.st_gid} of {socket}: {_words(error)}")
    if not members and (sources := _elsewhere(root, "group")):
        return Unseen(f"members of group {group} that {', '.join(sources)} may name")
    return SocketAccess(socket, group, tuple(members), anybody)


def _group(root: Path, gid: int) -> tuple[str, list[str]]:
    """Name and members of a group, those included whose first group it is."""
    name, members = str(gid), []
    for fields in _rows(root / "etc" / "group", 4):
        if fields[2] == str(gid):
            name, members = fields[0], [member for member in fields[3].split(",") if member]
    members += [user.name for user in _users(root) if user.group == gid]
    return name, sorted({member for member in members if member != "root"})


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}"


def _elsewhere(root: Path, wanted: str) -> list[str]:
    """Sources of a database (``group``, ``passwd``) besides files (nsswitch.conf(5))."""
    for line in read_bounded(root / "etc" / "nsswitch.conf").decode(errors="replace").splitlines():
        database, _, sources = line.partition("#")[0].partition(":")
        if database.strip() == wanted:
            named = [word for word in sources.split() if not word.startswith("[")]
            return [word for word in named if word not in _LOCAL_SOURCES]
    return []


def gather_homes(root: Path = Path("/")) -> Homes:
    """Buildx's builders, kubeconfigs and ``docker debug`` of every user with a home."""
    builders: list[Builder] = []
    kubeconfigs: list[str] = []
    debuggers: list[str] = []
    sources = _elsewhere(root, "passwd")
    unread = [f"homes of users that {', '.join(sources)} may name"] if sources else []
    for folder in _PLUGINS:
        try:
            debuggers += _there(root, f"{folder}/{_DEBUG}")
        except OSError as error:
            unread.append(_words(error))
    for home in _homes(root, unread):
        try:
            builders += _builders(root, home, unread)
            kubeconfigs += _there(root, f"{home}/.kube/config")
            debuggers += _there(root, f"{home}/.docker/cli-plugins/{_DEBUG}")
        except OSError as error:
            unread.append(_words(error))
    return Homes(tuple(builders), tuple(kubeconfigs), tuple(debuggers), tuple(unread))


def _homes(root: Path, unread: list[str]) -> list[str]:
    try:
        return sorted({user.home for user in _users(root)})
    except OSError as error:
        unread.append(_words(error))
        return []


def _builders(root: Path, home: str, unread: list[str]) -> Iterator[Builder]:
    directory = f"{home}/.docker/buildx/instances"
    names = _names(root / directory.lstrip("/"))
    if len(names) > _MAX_FILES:
        unread.append(f"{directory}: {len(names)} files, more than {_MAX_FILES}")
    for name in names[:_MAX_FILES]:
        path = f"{directory}/{name}"
        yield Builder(path, _driver(root / path.lstrip("/")))


def _driver(path: Path) -> str | Unseen:
    try:
        return msgspec.json.decode(_plain_file(path), type=_Instance).driver
    except OSError as error:
        return Unseen(error.strerror or "cannot be read")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Unseen("it is no builder of buildx's")


def _there(root: Path, path: str) -> Iterator[str]:
    """``path`` where it is. Raises OSError where that cannot be seen."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        (root / path.lstrip("/")).lstat()
        yield path


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _plain_file(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no plain file", str(path))
        return file.read(_MAX_BYTES)


def _users(root: Path) -> Iterator[_User]:
    for fields in _rows(root / "etc" / "passwd", 7):
        if fields[3].isdecimal() and fields[5].startswith("/"):
            yield _User(fields[0], int(fields[3]), fields[5].rstrip("/"))


def _rows(path: Path, columns: int) -> Iterator[list[str]]:
    """passwd(5) and group(5). Raises OSError."""
    for line in read_or_raise(path).decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) == columns:
            yield fields
