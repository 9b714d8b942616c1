"""The service in force with the lab's policy, and what may leave under it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Capture, Lab, Packets, Ramnet, policy_text
from tests.lab import addresses as at
from tests.lab.service import POLICY as POLICY_PATH

ALLOWED = (
    at.REGISTRY_ALLOWED,
    at.REDIRECT_ALLOWED,
    at.CDN,
    at.LOGIN_ALLOWED,
    at.FILES_ALLOWED,
    at.GIT_ALLOWED,
)
PROXY_PORTS = (1080, 8080)
"""Named by the policy, so that they come to the gate where a kernel needs a listener for each."""
POLICY = policy_text(
    *(site.name for site in ALLOWED), *(f"ports.allowed.example:{port}" for port in PROXY_PORTS)
)

NEAR_ONLY = """
ip link set lo up
ip link add near0 type veth peer name near1
ip link set near1 up
ip link set near0 up
ip address add 10.9.9.9/24 dev near0
ip route add default via 10.9.9.1
"""
"""Sets up a namespace that has addresses and a default route, and nobody there."""

TIERS = pytest.mark.parametrize("tier", ["redirect", "anyip"], indirect=True, scope="module")
_WITHOUT = {
    "redirect": "",
    "anyip": "nat_redirect",
    "redirect, anybody's": "owner,persist",
}


def sentence(host: str) -> str:
    """What a person reads who asked for a host that is not allowed."""
    return f"acme has disallowed access to {host}. ask it-help@acme.example to add a registry"


def stray(capture: Capture) -> Packets:
    """What left and should not have.

    Allowed are TCP to the sites of the policy, and questions for their names to the vm's own
    resolver; ICMP errors and bare resets are aside.
    """
    names = {site.name for site in ALLOWED}
    servers = set(at.RESOLVER.addresses)
    sites = {address for site in ALLOWED for address in site.addresses}
    return (
        capture.settle()
        .sent_by_vm()
        .without_housekeeping()
        .where(
            lambda packet: (
                not (
                    packet.is_bare_reset
                    or (packet.destination in sites and packet.protocol == "tcp")
                    or (packet.destination in servers and packet.dns_name in names)
                    or (packet.protocol == "tcp" and packet.destination in servers)
                )
            )
        )
    )


@pytest.fixture(scope="package")
def service(lab: Lab) -> Iterator[Ramnet]:
    """One running service for all tests that do not change it."""
    yield lab.ramnet
    lab.ramnet.close()


@pytest.fixture(scope="module")
def tier(request: pytest.FixtureRequest) -> str:
    """How connections come to the gate; ``TIERS`` walks both."""
    return str(getattr(request, "param", "redirect"))


@pytest.fixture
def enforced(lab: Lab, service: Ramnet, tier: str) -> Ramnet:
    """The service, running, with the policy of this file in force."""
    if service.without != _WITHOUT[tier]:
        service.close()
        service.without = _WITHOUT[tier]
    if service.process is None or service.process.code is not None:
        service.stop()
        service.start(POLICY)
    elif lab.vm.path(POLICY_PATH).read_text() != POLICY:
        service.set_policy(POLICY)
    return service
