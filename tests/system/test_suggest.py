"""``ramnet suggest`` with a real dockerd: the host it was redirected to, and no other."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.lab import Docker, Lab, Ramnet, policy_text
from tests.lab import addresses as at
from tests.system.conftest import ALLOWED, sentence

pytestmark = pytest.mark.lab

_WITHOUT_CDN = policy_text(*(site.name for site in ALLOWED if site != at.CDN))


def test_the_cdn_host_and_nothing_else(lab: Lab, enforced: Ramnet, docker: Docker) -> None:
    enforced.command("ca", "install").check()
    docker.restart()
    docker.forget()
    enforced.set_policy(_WITHOUT_CDN)
    before = datetime.now(UTC).isoformat()

    def elsewhere() -> None:
        """Another client, and the same one for a reason of its own."""
        for site in (at.FILES_BLOCKED, at.GIT_BLOCKED):
            lab.vm.run(["curl", "-sk", "--max-time", "10", f"https://{site.name}/"])
        assert not docker.run("pull", f"{at.REGISTRY_BLOCKED.name}/{at.IMAGE}").ok

    elsewhere()
    docker.run("pull", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}").check()
    pulled = docker.run("pull", f"{at.REDIRECT_ALLOWED.name}/{at.IMAGE}")
    assert sentence(at.CDN.name) in pulled.text
    elsewhere()

    events = enforced.events("--since", before)
    result = enforced.command("suggest", "--json", "--since", before)
    found = json.loads(result.out)
    assert [one["host"] for one in found] == [at.CDN.name], (found, events)
    assert (found[0]["registries"], found[0]["certain"]) == ([at.REDIRECT_ALLOWED.name], True)
    assert result.code == 1
    told = enforced.command("suggest", "--since", before).out
    assert f"{at.REDIRECT_ALLOWED.name} redirected to {at.CDN.name}, which is not allowed" in told
    assert f'host = "{at.CDN.name}"' in told

    enforced.set_policy(f'{_WITHOUT_CDN}[[registry]]\nhost = "{at.CDN.name}"\n')
    assert enforced.command("suggest", "--since", before).code == 0
    docker.forget()
    docker.run("pull", f"{at.REDIRECT_ALLOWED.name}/{at.IMAGE}").check()
