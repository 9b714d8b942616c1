"""``containers_dns = "allow"``: names are told, connections are decided all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Capture, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.service import DEFAULT_CONFIG
from tests.lab.vm import Vm
from tests.system.conftest import POLICY, sentence

pytestmark = pytest.mark.lab

BLOCKED = at.FILES_BLOCKED
_CURL = ["curl", "--silent", "--show-error", "--include", "--insecure", "--max-time", "5"]


@pytest.fixture
def answering(lab: Lab, service: Ramnet) -> Iterator[Ramnet]:
    service.close()
    service.start(POLICY, config=f'{DEFAULT_CONFIG}\n[resolver]\ncontainers_dns = "allow"\n')
    yield service
    service.close()


def test_a_name_is_told_and_leads_nowhere(answering: Ramnet, vm: Vm, capture: Capture) -> None:
    asked = vm.run(["dig", f"@{at.FOREIGN_RESOLVER.ipv4}", BLOCKED.name, "+short"]).check()
    assert asked.out.strip() == BLOCKED.ipv4
    for scheme in ("http", "https"):
        got = vm.run([*_CURL, f"{scheme}://{BLOCKED.name}/hello.txt"])
        assert sentence(BLOCKED.name) in got.text
    raw = vm.run([*_CURL, f"telnet://{BLOCKED.ipv4}:9000"])
    assert not raw.ok
    assert (
        not capture.settle()
        .sent_by_vm()
        .where(lambda packet: packet.destination in BLOCKED.addresses)
    )


def test_status_says_what_it_means(answering: Ramnet) -> None:
    (warning,) = [each for each in answering.status()["warnings"] if "containers_dns" in each]
    assert "data can leave in names" in warning
