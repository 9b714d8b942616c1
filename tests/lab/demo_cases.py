"""What the demo asks of docker, on which host, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.lab import addresses as at
from tests.lab.docker import Docker
from tests.lab.processes import Result

#: The hosts that the demo's policy allows, and so the only ones that packets may go to.
ALLOWED = (at.REGISTRY_ALLOWED, at.REDIRECT_ALLOWED, at.CDN, at.LOGIN_ALLOWED, at.FILES_ALLOWED)


class Case(NamedTuple):
    """One request.

    Attributes:
        asked: what it is, for people.
        site: whose packets are counted.
        allowed: whether it has to succeed; if not, docker has to fail and no packet may leave.
        words: whether docker shows our sentence when refused. Over TLS it drops that of a 403
            after `docker login` and after ADD with BuildKit.
        ask: what runs docker, after making it forget all images where it would use those.
    """

    asked: str
    site: at.Site
    allowed: bool
    words: bool
    ask: Callable[[Docker], Result]


def _pull(site: at.Site, allowed: bool) -> Case:
    def pull(docker: Docker) -> Result:
        docker.forget()
        return docker.run("pull", f"{site.name}/{at.IMAGE}")

    return Case(f"pull {site.name}", site, allowed, True, pull)


def _push(site: at.Site, allowed: bool) -> Case:
    name = f"{site.name}/library/pushed:1"

    def push(docker: Docker) -> Result:
        docker.build("FROM scratch\nLABEL lab=push\n", tag=name).check()
        return docker.run("push", name)

    return Case(f"push {site.name}", site, allowed, True, push)


def _login(site: at.Site, allowed: bool, words: bool) -> Case:
    def login(docker: Docker) -> Result:
        return docker.login(site.name, at.USER, at.PASSWORD)

    return Case(f"login {site.name}", site, allowed, words, login)


def _from(site: at.Site, allowed: bool, buildkit: bool) -> Case:
    dockerfile = f"FROM {site.name}/{at.IMAGE}\nLABEL built=yes\n"
    asked = f"build, FROM {site.name}{_suffix(buildkit)}"
    return Case(asked, site, allowed, True, _build(dockerfile, buildkit))


def _add(scheme: str, site: at.Site, allowed: bool, buildkit: bool, words: bool) -> Case:
    dockerfile = f"FROM scratch\nADD {scheme}://{site.name}/hello.txt /hello.txt\n"
    asked = f"build, ADD {scheme}://{site.name}{_suffix(buildkit)}"
    return Case(asked, site, allowed, words, _build(dockerfile, buildkit))


def _suffix(buildkit: bool) -> str:
    return " (BuildKit)" if buildkit else ""


def _build(dockerfile: str, buildkit: bool) -> Callable[[Docker], Result]:
    def build(docker: Docker) -> Result:
        docker.forget()
        return docker.build(dockerfile, buildkit=buildkit)

    return build


def cases(*, explicit: bool) -> Iterator[Case]:
    """All requests of one way, those that have to succeed first."""
    yield _pull(at.REGISTRY_ALLOWED, True)
    yield _pull(at.REDIRECT_ALLOWED, True)
    yield _push(at.REGISTRY_ALLOWED, True)
    yield _login(at.LOGIN_ALLOWED, True, words=True)
    yield from _builds(at.REGISTRY_ALLOWED, at.FILES_ALLOWED, True, explicit)
    yield _pull(at.REGISTRY_BLOCKED, False)
    yield _push(at.REGISTRY_BLOCKED, False)
    yield _login(at.REGISTRY_BLOCKED, False, words=explicit)
    yield from _builds(at.REGISTRY_BLOCKED, at.FILES_BLOCKED, False, explicit)


def _builds(registry: at.Site, files: at.Site, allowed: bool, explicit: bool) -> Iterator[Case]:
    for buildkit in (False, True):
        yield _from(registry, allowed, buildkit)
        # A refused CONNECT has its reason phrase shown; BuildKit drops that of a plain 403.
        yield _add("https", files, allowed, buildkit, words=explicit or not buildkit)
        yield _add("http", files, allowed, buildkit, words=not buildkit)
