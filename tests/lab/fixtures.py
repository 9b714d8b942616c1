"""pytest fixtures: one lab for the session, one capture for each test.

Where the machine cannot run a lab, tests that want one are skipped with the reason; with CI=true
they fail, so that a build never passes by not looking.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.capture import Capture
from tests.lab.docker import Docker
from tests.lab.inet import Inet
from tests.lab.lab import Lab, missing
from tests.lab.service import Ramnet
from tests.lab.vm import Vm


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The hosts, without dockerd and ramnet running."""
    if lacks := missing():
        reason = f"the lab needs {', '.join(lacks)} (see `make setup`)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with Lab.create() as made:
        yield made


@pytest.fixture(scope="session")
def vm(lab: Lab) -> Vm:
    return lab.vm


@pytest.fixture(scope="session")
def inet(lab: Lab) -> Inet:
    return lab.inet


@pytest.fixture
def docker(lab: Lab) -> Docker:
    """The vm's dockerd, running as it is by default; images of earlier tests may be there."""
    if lab.docker.process is None or lab.docker.process.code is not None:
        lab.docker.stop()
        lab.docker.start()
    return lab.docker


@pytest.fixture
def capture(lab: Lab) -> Iterator[Capture]:
    """A capture of the uplink from the test's begin to its end."""
    with lab.capture() as made:
        yield made


@pytest.fixture
def ramnet(lab: Lab) -> Iterator[Ramnet]:
    """The service, not started; after the test it is stopped and its rules are gone.

    One that other tests share (tests/system's ``service``) is ended first.
    """
    lab.ramnet.close()
    yield lab.ramnet
    lab.ramnet.close()
