"""Tier anyip with a real dockerd: what a kernel without NAT gets of the same promises.

What people try is in ``test_leaks``, what dockerd does in ``test_docker``, for both tiers.
"""

from __future__ import annotations

import pytest

from tests.lab import Capture, Docker, Lab, Ramnet
from tests.lab import addresses as at
from tests.system.conftest import PROXY_PORTS, stray

pytestmark = [
    pytest.mark.lab,
    pytest.mark.parametrize("tier", ["anyip"], indirect=True, scope="module"),
]

_PULL = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
_LISTING = "nft list ruleset; ip link; ip rule; ip -6 rule; ip route show table all"


def test_the_status_says_which_tier_and_why(enforced: Ramnet) -> None:
    scope = enforced.status()["scopes"][0]
    assert scope["tier"] == "anyip"
    assert "nat_redirect" in scope["reason"]
    assert scope["capabilities"]["nat_redirect"] is False
    assert scope["capabilities"]["policy_routing4"] is True
    assert scope["scoping_reason"]
    assert {53, 80, 443, 3128, 5000, *PROXY_PORTS} == set(scope["intercepted_ports"])
    assert scope["rules"]["intact"]


@pytest.mark.parametrize("address", ["127.0.0.1", at.VM_IPV4, at.INET_IPV4])
@pytest.mark.parametrize("port", [443, 5000])
@pytest.mark.parametrize("userland", [True, False], ids=["userland-proxy", "nat-alone"])
def test_a_published_port(
    enforced: Ramnet, lab: Lab, docker: Docker, address: str, port: int, userland: bool
) -> None:
    """Also on ports that the gate listens on: its listeners are in a namespace of its own."""
    docker.run("pull", _PULL).check()
    if not userland:
        docker.restart(config={"userland-proxy": False})
    web = ["httpd", "-f", "-h", "/"]
    docker.run("run", "--detach", "--name", "web", "--publish", f"{port}:80", _PULL, *web).check()
    try:
        host, target = (lab.inet, at.VM_IPV4) if address == at.INET_IPV4 else (lab.vm, address)
        url = f"http://{target}:{port}/label"
        command = ["curl", "-sS", "--retry-connrefused", "--retry", "5", "--max-time", "10", url]
        assert host.run(command).check().out == f"{at.REGISTRY_ALLOWED.name}\n"
    finally:
        docker.run("rm", "--force", "web").check()
        if not userland:
            docker.restart()


def test_a_killed_service_leaves_nothing_open(enforced: Ramnet, lab: Lab, capture: Capture) -> None:
    enforced.signal(enforced.supervisor_pid())
    for _ in range(20):
        lab.vm.run(["curl", "-sS", "--max-time", "1", f"https://{at.ANYWHERE.ipv4}/"])
        lab.vm.run(["dig", f"@{at.FOREIGN_RESOLVER.ipv4}", at.CDN.name, "+time=1", "+tries=1"])
    enforced.wait_restarted()
    url = f"https://{at.FILES_ALLOWED.name}/hello.txt"
    assert lab.vm.run(["curl", "-sS", url]).check().out
    assert not stray(capture)


def test_a_stopped_service_refuses_and_down_leaves_nothing(
    enforced: Ramnet, lab: Lab, capture: Capture
) -> None:
    """``down`` is run by another process, which may choose the other tier."""
    enforced.stop()
    got = lab.vm.run(["curl", "-sS", "--max-time", "5", f"https://{at.ANYWHERE.ipv4}/"])
    assert got.code != 0
    assert got.seconds < 2
    assert not capture.settle().sent_by_vm().about(at.ANYWHERE)
    enforced.down().check()
    listing = lab.vm.run(["sh", "-c", _LISTING]).check().out
    assert "ramnet" not in listing
    assert "60927" not in listing
    sysctl = lab.vm.run(["sysctl", "-n", "net.ipv4.tcp_fwmark_accept"]).check()
    assert sysctl.out.strip() == "0"
