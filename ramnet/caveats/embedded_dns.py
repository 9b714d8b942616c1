"""Pure: what is to be said where containers' questions for names come through dockerd itself.

From Docker 28 on the embedded resolver (127.0.0.11 of user-defined networks) asks from dockerd's
own process and network namespace, unless containers are given name servers (``dns`` in
daemon.json). Nothing the kernel knows of such a question tells it from a question of dockerd's
own, so either both are restricted or neither (facts of Docker, measured on 28 and 29).
"""

from collections.abc import Iterable
from typing import Final

from ramnet.caveats.facts import DockerDaemon
from ramnet.config import Resolver

_SHARED_SINCE: Final = 28
_REMEDY: Final = 'set "dns" in daemon.json, to a resolver that containers reach'


def shared_dns(daemons: Iterable[DockerDaemon], resolver: Resolver) -> list[str]:
    """A sentence for each dockerd whose containers' questions look like its own."""
    return [_sentence(each, resolver) for each in daemons if _shares(each)]


def _shares(daemon: DockerDaemon) -> bool:
    major = (daemon.version or "").partition(".")[0]
    return major.isdecimal() and int(major) >= _SHARED_SINCE and not daemon.names_dns


def _sentence(daemon: DockerDaemon, resolver: Resolver) -> str:
    version = "".join(c if c.isprintable() else "?" for c in daemon.version or "")[:40]
    found = (
        f"dockerd {version} (pid {daemon.pid}) itself asks for the names that containers on "
        "user-defined networks want"
    )
    if resolver.containers_dns == "allow":
        return f'{found}; containers_dns = "allow" answers all of them. Better: {_REMEDY}'
    return f"{found}, so they get the policy's answers; {_REMEDY}"
