"""A dockerd outside this machine that has nothing but the explicit proxy, as Windows' own has.

It is a real one, on another host of the wire. That it is none of Windows nobody sees from here:
what a dockerd says to a proxy is the name it wants and that it is written in Go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab import Capture, Docker, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.host import Host
from tests.lab.service import DEFAULT_CONFIG
from tests.system.conftest import POLICY, sentence, stray

pytestmark = pytest.mark.lab

OPEN = DEFAULT_CONFIG.replace(
    'explicit = ["127.0.0.1:3128"]',
    f'explicit = ["{at.VM_IPV4}:3128"]\nexplicit_clients = ["{at.INET_IPV4}/32"]',
)
CLOSED = OPEN.replace(f"{at.INET_IPV4}/32", "127.0.0.0/8")
IMAGE = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"


@pytest.fixture(scope="module")
def outside(lab: Lab) -> Iterator[Docker]:
    """It shares inet's network, and would reach every registry there by itself."""
    host = Host.create("windows", lab.directory / "windows", network_of=lab.inet)
    try:
        lab.authority.trust_on(host)
        host.write("/etc/resolv.conf", f"nameserver {at.RESOLVER.ipv4}\n")
        docker = Docker(host, "windows", cgroup=lab.directory.name)
        docker.start(environment={"HTTPS_PROXY": f"http://{at.VM_IPV4}:3128"})
        yield docker
        docker.stop()
    finally:
        host.close()


def caveat(ramnet: Ramnet) -> tuple[str, str]:
    """State and evidence of the caveat, by the running service."""
    found = json.loads(ramnet.command("caveats", "--json").check().out)
    (report,) = (each for each in found if each["code"] == "windows-containers")
    return report["state"], " ".join(report["evidence"])


def test_it_is_held_to_the_policy(ramnet: Ramnet, outside: Docker, capture: Capture) -> None:
    ramnet.start(POLICY, config=OPEN)
    outside.run("pull", IMAGE).check()
    blocked = outside.run("pull", f"{at.REGISTRY_BLOCKED.name}/{at.IMAGE}")
    assert not blocked.ok
    assert sentence(at.REGISTRY_BLOCKED.name) in blocked.text
    answers = {at.INET_IPV4}
    assert not stray(capture).where(lambda packet: packet.destination not in answers)
    state, evidence = caveat(ramnet)
    assert state == "unknown"
    assert f"{at.VM_IPV4}:3128 can be reached from outside" in evidence


def test_who_is_not_named_may_not_use_it(ramnet: Ramnet, outside: Docker, capture: Capture) -> None:
    ramnet.start(POLICY, config=CLOSED)
    pulled = outside.run("pull", f"{at.REDIRECT_ALLOWED.name}/{at.IMAGE}")
    assert not pulled.ok
    assert not capture.settle().sent_by_vm().about(at.REDIRECT_ALLOWED)
    assert "can be reached from outside" not in caveat(ramnet)[1]
