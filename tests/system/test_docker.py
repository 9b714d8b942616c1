"""A real dockerd, by the transparent way, the explicit one and through proxies of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Capture, Docker, Lab, Ramnet, policy_text
from tests.lab import addresses as at
from tests.lab.demo import Row
from tests.lab.demo_cases import Case, cases
from tests.system.conftest import ALLOWED, POLICY, TIERS, sentence, stray

pytestmark = [pytest.mark.lab, TIERS]

_EXPLICIT = "http://127.0.0.1:3128"
_PULLS = ("pull registry.allowed.example", "pull registry.blocked.example")
_WAYS = {
    "transparent": {},
    "explicit": {"HTTP_PROXY": _EXPLICIT, "HTTPS_PROXY": _EXPLICIT},
    "foreign-proxy": {"HTTPS_PROXY": f"http://{at.ANYWHERE.ipv4}:8080"},
    "socks-proxy": {"HTTPS_PROXY": f"socks5://{at.ANYWHERE.ipv4}:1080"},
}


def _asked() -> Iterator[tuple[str, Case]]:
    for way in _WAYS:
        for case in cases(explicit=way == "explicit"):
            if way in ("transparent", "explicit") or case.asked in _PULLS:
                yield way, case


class Daemon:
    """dockerd as one way wants it; started anew only when the way changes."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self._way = ""

    def by(self, way: str) -> Docker:
        if way != self._way:
            self._docker.restart(environment=_WAYS[way])
            self._way = way
        return self._docker


@pytest.fixture(scope="module")
def daemon(lab: Lab, tier: str) -> Iterator[Daemon]:
    yield Daemon(lab.docker)
    lab.docker.stop()


@pytest.fixture
def trusted(enforced: Ramnet) -> Ramnet:
    """The service, with its boot-time authority where dockerd's trust store has it."""
    enforced.command("ca", "install").check()
    return enforced


def _named(value: str | Case) -> str:
    return value if isinstance(value, str) else value.asked


@pytest.mark.parametrize(("way", "case"), list(_asked()), ids=_named)
def test_request(trusted: Ramnet, daemon: Daemon, capture: Capture, way: str, case: Case) -> None:
    docker = daemon.by(way)
    before = len(capture.settle())
    result = case.ask(docker)
    sent = capture.settle().since(before).sent_by_vm()
    words = case.words and way != "socks-proxy"  # SOCKS carries no words
    row = Row(case._replace(words=words), way, result, sent.about(case.site))
    assert row.faults() == [], result.text
    assert not stray(capture)


@pytest.mark.parametrize("way", ["transparent", "explicit"])
def test_a_missing_cdn_host_is_named(
    trusted: Ramnet, daemon: Daemon, capture: Capture, way: str
) -> None:
    docker = daemon.by(way)
    docker.forget()
    trusted.set_policy(policy_text(*(site.name for site in ALLOWED if site != at.CDN)))
    try:
        pulled = docker.run("pull", f"{at.REDIRECT_ALLOWED.name}/{at.IMAGE}")
    finally:
        trusted.set_policy(POLICY)
    assert not pulled.ok
    assert sentence(at.CDN.name) in pulled.text
    assert not capture.settle().sent_by_vm().about(at.CDN)
    docker.run("pull", f"{at.REDIRECT_ALLOWED.name}/{at.IMAGE}").check()


@pytest.mark.parametrize("buildkit", [False, True], ids=["legacy", "buildkit"])
def test_a_git_context(trusted: Ramnet, daemon: Daemon, capture: Capture, buildkit: bool) -> None:
    docker = daemon.by("transparent")
    built = docker.build_from(f"https://{at.GIT_ALLOWED.name}/context.git", buildkit=buildkit)
    built.check()
    refused = docker.build_from(f"https://{at.GIT_BLOCKED.name}/context.git", buildkit=buildkit)
    assert not refused.ok
    assert not capture.settle().sent_by_vm().about(at.GIT_BLOCKED)


@pytest.mark.parametrize("ndots", [1, 5])
def test_a_search_list(trusted: Ramnet, lab: Lab, daemon: Daemon, ndots: int) -> None:
    """glibc and Go ask for registry.allowed.example.corp.example first where ndots is 5."""
    docker = daemon.by("transparent")
    docker.forget()
    lab.vm.set_resolver(at.RESOLVER.ipv4, options=f"search corp.example\noptions ndots:{ndots}\n")
    try:
        trusted.wait_status(lambda status: "corp.example" in str(status["scopes"][0]["resolver"]))
        docker.run("pull", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}").check()
        url = f"https://{at.FILES_ALLOWED.name}/hello.txt"
        assert lab.vm.run(["curl", "-sS", url]).check().out
    finally:
        lab.vm.set_resolver(at.RESOLVER.ipv4)


@pytest.mark.parametrize("network", ["bridge", "custom"])
def test_containers_go_on_as_before(trusted: Ramnet, daemon: Daemon, network: str) -> None:
    docker = daemon.by("transparent")
    image = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
    docker.run("pull", image).check()
    docker.run("network", "create", "custom").check()
    try:
        fetched = docker.run(
            "run", "--rm", "--network", network, image,
            "wget", "-q", "-O", "-", f"http://{at.FILES_BLOCKED.name}/hello.txt",
        )  # fmt: skip
    finally:
        docker.run("network", "rm", "custom").check()
    assert fetched.check().out == f"hello from {at.FILES_BLOCKED.name}\n"


@pytest.mark.parametrize("address", ["127.0.0.1", at.VM_IPV4, at.INET_IPV4])
@pytest.mark.parametrize("userland", [True, False], ids=["userland-proxy", "nat-alone"])
def test_a_published_port(
    trusted: Ramnet, lab: Lab, daemon: Daemon, address: str, userland: bool
) -> None:
    """From the scope itself by loopback and its own address, and from outside."""
    docker = daemon.by("transparent")
    image = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
    docker.run("pull", image).check()
    if not userland:
        docker.restart(config={"userland-proxy": False})
    web = ["httpd", "-f", "-h", "/"]
    docker.run("run", "--detach", "--name", "web", "--publish", "8080:80", image, *web).check()
    try:
        host, target = (lab.inet, at.VM_IPV4) if address == at.INET_IPV4 else (lab.vm, address)
        url = f"http://{target}:8080/label"
        command = ["curl", "-sS", "--retry-connrefused", "--retry", "5", "--max-time", "10", url]
        assert host.run(command).check().out == f"{at.REGISTRY_ALLOWED.name}\n"
    finally:
        docker.run("rm", "--force", "web").check()
        if not userland:
            docker.restart()
