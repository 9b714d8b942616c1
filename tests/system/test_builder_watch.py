"""A builder in a container is told by the running service, within a second of its making."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import pytest

from tests.lab import Docker, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.processes import wait_until
from tests.system.conftest import POLICY

pytestmark = pytest.mark.lab

IMAGE = "moby/buildkit:buildx-stable-1"
TRIES = 5
"""One accident of timing on a busy machine says nothing of the way that news takes."""


@pytest.fixture(scope="module")
def watching(lab: Lab, service: Ramnet) -> Iterator[Ramnet]:
    """The service over a dockerd that has one builder already."""
    service.close()
    if lab.docker.process is None or lab.docker.process.code is not None:
        lab.docker.stop()
        lab.docker.start()
    lab.docker.run("pull", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}").check()
    lab.docker.run("tag", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}", IMAGE).check()
    create(lab.docker, "buildx_buildkit_before0", IMAGE)
    service.start(POLICY)
    yield service
    service.close()
    lab.docker.forget()


def create(docker: Docker, name: str, image: str) -> None:
    docker.run("create", "--name", name, image, "sleep", "600").check()


def told(service: Ramnet, name: str) -> str:
    """When an event named the container, as RFC 3339; empty before that."""
    for event in service.events():
        if name in (event["reason"] or "") and "fetches past every scope" in event["reason"]:
            return str(event["time"])
    return ""


def fetched(docker: Docker, name: str) -> str:
    """What a container has printed."""
    return docker.run("logs", name).out


def warned(service: Ramnet, name: str) -> bool:
    return any(name in warning for warning in service.status()["warnings"])


def test_one_that_was_there_before(watching: Ramnet) -> None:
    wait_until("the event", partial(told, watching, "buildx_buildkit_before0"), 30)
    assert warned(watching, "buildx_buildkit_before0")


def test_a_new_one_is_told_within_a_second(watching: Ramnet, docker: Docker) -> None:
    wait_until("the watch", partial(told, watching, "before0"), 30)
    took = []
    for number in range(TRIES):
        name = f"buildx_buildkit_new{number}"
        create(docker, name, IMAGE)
        wait_until("the event", partial(told, watching, name), 30)
        made = docker.run("inspect", "--format", "{{.Created}}", name).check().out.strip()
        took.append(_time(told(watching, name)) - _time(made))
        if took[-1] < timedelta(seconds=1):
            return
    pytest.fail(f"told after {took}")


def _time(text: str) -> datetime:
    """Docker tells nanoseconds."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6].ljust(6, '0')}+00:00")


def test_one_that_fetches_past_the_policy_is_told_within_a_second_of_its_making(
    watching: Ramnet, lab: Lab, docker: Docker
) -> None:
    """Made as buildx makes it (name, image, privileged, state volume), and at work from the start.

    BuildKit's own image cannot be had here; what it fetches with is a real client over the real
    wire, which the scope's own clients may not reach.
    """
    wait_until("the watch", partial(told, watching, "before0"), 30)
    url = f"http://{at.FILES_BLOCKED.name}/hello.txt"
    assert "has disallowed access" in lab.vm.run(["curl", "--silent", url]).out
    took = []
    with lab.capture() as capture:
        for number in range(TRIES):
            name = f"buildx_buildkit_working{number}"
            volume = ["--volume", f"{name}_state:/var/lib/buildkit"]
            fetch = ["sh", "-c", f"wget -q -O /got {url}; cat /got; sleep 600"]
            privileged = ["--cap-add", "NET_ADMIN"]  # of --privileged, what a lab may hand out
            arguments = ["--detach", "--name", name, *privileged, *volume, IMAGE]
            docker.run("run", *arguments, *fetch).check()
            wait_until("its fetch", partial(fetched, docker, name), 30)
            wait_until("the event", partial(told, watching, name), 30)
            made = docker.run("inspect", "--format", "{{.Created}}", name).check().out.strip()
            took.append(_time(told(watching, name)) - _time(made))
            if took[-1] < timedelta(seconds=1):
                break
        reached = capture.settle().sent_by_vm().about(at.FILES_BLOCKED)
    assert min(took) < timedelta(seconds=1), took
    assert reached, "it fetched nothing"
    assert warned(watching, name)


def test_it_is_warned_of_until_it_is_gone(watching: Ramnet, docker: Docker) -> None:
    create(docker, "builder_of_mine", IMAGE)
    wait_until("the event", partial(told, watching, "builder_of_mine"), 30)
    assert warned(watching, "builder_of_mine")
    docker.run("rm", "builder_of_mine").check()
    wait_until("no warning", lambda: not warned(watching, "builder_of_mine"), 30)


def test_what_becomes_one_by_its_name_is_told_and_others_are_not(
    watching: Ramnet, docker: Docker
) -> None:
    create(docker, "app", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}")
    docker.run("rename", "app", "buildx_buildkit_renamed0").check()
    wait_until("the event", partial(told, watching, "renamed0"), 30)
    assert not told(watching, "container app:")


def test_a_dockerd_that_starts_again_is_followed(watching: Ramnet, lab: Lab) -> None:
    lab.docker.restart()
    create(lab.docker, "buildx_buildkit_again0", IMAGE)
    wait_until("the event", partial(told, watching, "again0"), 30)
    assert warned(watching, "again0")
