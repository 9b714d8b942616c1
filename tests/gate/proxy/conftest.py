"""A rig for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gate.proxy.rig import Certificates, Rig, rig_in


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A proxy with the test policy, everything as the privileged side would give it."""
    with rig_in(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For TLS servers."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
