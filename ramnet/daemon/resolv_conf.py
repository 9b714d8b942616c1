"""Which ``resolv.conf`` a scope's resolver follows, and what stands in for a stub on loopback.

A stub such as 127.0.0.53 cannot be an upstream: its own questions are the scope's egress and
would come back to the gate. What it forwards to is used instead, where it is known. The server
that WSL 2 writes into the file is no such stub; the resolver finds out by a probe if it is after
all (``ramnet.gate.resolver.loops``).
"""

import os
import re
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple

from ramnet.errors import ConfigError
from ramnet.kernel.netns import namespace_path
from ramnet.wire.resolv_conf import parse_resolv_conf

_REMEDY: Final = 'set [resolver] upstream = ["ADDRESS"] in ramnet.toml'
SYSTEMD_UPSTREAMS: Final = "/run/systemd/resolve/resolv.conf"
_ETC: Final = "/etc/resolv.conf"
_MAX_BYTES: Final = 64 * 1024
_MAX_LINKS: Final = 8


class Choice(NamedTuple):
    """The text for the gate, None where none can be used, and what is wrong if anything is."""

    text: str | None
    problem: str | None = None


def choose(text: str | None, systemd: str | None, *, configured: bool) -> Choice:
    """Pure: the scope's own text, systemd-resolved's list of upstreams, or neither.

    ``configured`` says that ``[resolver] upstream`` names servers, so that only the search list
    of the file matters.
    """
    if configured:
        return Choice(text or "")
    if text is None:
        return Choice(None, f"{_ETC} cannot be read; {_REMEDY}")
    found = parse_resolv_conf(text)
    if not found.nameservers:
        return Choice(None, f"{_ETC} names no resolver; {_REMEDY}")
    if not found.loopback or found.by_wsl:
        return Choice(text)
    behind = parse_resolv_conf(systemd or "")
    if behind.nameservers and not behind.loopback:
        return Choice(systemd)
    problem = (
        f"{_ETC} names {found.loopback[0]}, a resolver on this machine whose own questions would "
        f"come back to ramnet; {_REMEDY}"
    )
    if len(found.loopback) < len(found.nameservers):
        return Choice(_without(text, found.loopback), problem)
    return Choice(None, problem)


def _without(text: str, servers: tuple[str, ...]) -> str:
    lines = text.splitlines()
    kept = (line for line in lines if not set(parse_resolv_conf(line).nameservers) & set(servers))
    return "\n".join(kept)


def read_for(netns: str, *, configured: bool) -> Choice:
    """The choice for a scope, as the files stand now."""
    root = root_of(netns)
    named = re.fullmatch(r"(?:/var)?/run/netns/([^/]+)", netns)
    own = read_in_root("/", f"/etc/netns/{named[1]}/resolv.conf") if named else None
    text = own if own is not None else read_in_root(root, _ETC)
    return choose(text, read_in_root(root, SYSTEMD_UPSTREAMS), configured=configured)


def root_of(netns: str) -> str:
    """The root directory as the scope's processes see it; ours where no process is named."""
    if not netns.startswith(("pid:", "pidfile:")):
        return "/"
    try:
        return namespace_path(netns).removesuffix("ns/net") + "root"
    except ConfigError:  # the process is gone for the moment
        return "/"


def read_in_root(root: str, path: str) -> str | None:
    """A small text file below ``root``, following its links as a process with that root does."""
    for _ in range(_MAX_LINKS):
        try:
            target = str(Path(root + path).readlink())
        except OSError:  # not a link, or not there
            return _read(Path(root + path))
        path = os.path.normpath(target if target.startswith("/") else f"{path}/../{target}")
    return None


def _read(path: Path) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        if not S_ISREG(os.fstat(fd).st_mode):
            return None
        return file.read(_MAX_BYTES).decode(errors="replace")
