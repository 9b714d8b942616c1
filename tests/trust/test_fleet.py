"""What the fleet's simulation stands on; the simulation itself takes minutes (fleet.py)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trust import fleet


@pytest.fixture
def server(tmp_path: Path) -> Iterator[fleet.Server]:
    if shutil.which("nginx") is None:
        pytest.skip("needs nginx")
    made = fleet.Server(tmp_path, entries=1000)
    yield made
    made.process.terminate()
    made.process.wait()


def test_what_one_machine_costs(server: fleet.Server) -> None:
    """The README's figures: two small questions where nothing is new, 36 KB where it is."""
    costs = fleet.learn(server)
    unchanged = costs["unchanged"]
    assert [url.rpartition("/")[2] for url in unchanged.paths] == ["2.root.json", "timestamp.json"]
    assert unchanged.received == 0
    for kind in ("first", "changed"):
        assert len(costs[kind].paths) == 5
        assert 30_000 < costs[kind].received < 40_000


def test_ten_thousand_machines_are_never_staler_than_the_interval() -> None:
    found = fleet.staleness(10_000, 3600)
    assert len(found) == 10_000
    assert found[-1] <= 3600
    assert 1500 < found[5000] < 2000
