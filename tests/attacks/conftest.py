"""The service of ``tests.system`` in force, and a dockerd whose containers a test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.tools import Containers
from tests.lab import Lab, Ramnet
from tests.system.conftest import enforced, service, tier

__all__ = ["enforced", "service", "tier"]


@pytest.fixture(scope="package")
def engine(lab: Lab) -> Iterator[None]:
    """dockerd as it is by default, for all tests of this package."""
    lab.docker.stop()
    lab.docker.start()
    yield
    lab.docker.stop()


@pytest.fixture
def containers(lab: Lab, engine: None, enforced: Ramnet) -> Iterator[Containers]:
    """Runs programs in containers; gone after the test."""
    made = Containers(lab)
    yield made
    made.close()
