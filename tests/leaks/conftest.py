"""One service for each way, and the table of all cases at the end of the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Docker, Lab
from tests.lab import addresses as at
from tests.lab.service import DEFAULT_CONFIG
from tests.leaks.harness import POLICY, Harness, Row, table
from tests.leaks.probes import LOCAL_PORT, PUBLISHED_PORT
from tests.leaks.ways import CGROUP, WAYS, Way

#: How often harm is repeated; see the package's docstring.
ROUNDS = int(os.environ.get("RAMNET_LEAKS_ROUNDS", "2"))
_ROWS: list[Row] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _ROWS:
        terminalreporter.section("leaks")
        for line in table(_ROWS):
            terminalreporter.write_line(line)
        leaked = sum(row.forbidden or 0 for row in _ROWS)
        made = sum(row.probes for row in _ROWS)
        terminalreporter.write_line(f"leaks {leaked} of {made} probes in {len(_ROWS)} cases")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases that a way does not walk."""
    left = [item for item in items if not _is_walked(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = filter(_is_walked, items)


def _is_walked(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return True
    way = item.callspec.params.get("way")
    return not isinstance(way, Way) or way.walks(item.originalname)


@pytest.fixture(scope="session")
def rounds() -> int:
    return ROUNDS


@pytest.fixture(scope="package", params=WAYS, ids=[way.name for way in WAYS])
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture(scope="package")
def local_service(lab: Lab) -> Iterator[None]:
    """A service of the vm on every address, that greets and echoes."""
    script = Path(__file__).parent.parent / "lab" / "catchall.py"
    made = lab.vm.start([sys.executable, "-I", "-S", str(script), str(LOCAL_PORT)], log="local")
    lab.vm.wait_listening(LOCAL_PORT, made)
    yield
    made.stop()


@pytest.fixture(scope="package")
def published(lab: Lab) -> Iterator[Docker]:
    """A real dockerd with a container whose port is published; its image came before any rules."""
    docker = lab.docker
    docker.restart()
    image = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
    docker.run("pull", image).check()
    serve_web(docker)
    yield docker
    docker.stop()


def serve_web(docker: Docker) -> None:
    """A web server in a container, on a port of the vm."""
    image = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
    docker.run("run", "--detach", "--publish", f"{PUBLISHED_PORT}:80", "--restart", "always",
               "--stop-signal", "KILL",
               image, "httpd", "-f", "-h", "/").check()  # fmt: skip


@pytest.fixture(scope="package")
def service(lab: Lab, way: Way, published: Docker, local_service: None) -> Iterator[Lab]:
    """The lab with the service of one way."""
    lab.ramnet.close()
    lab.ramnet.without = way.without
    yield lab
    lab.ramnet.close()
    lab.ramnet.without = ""


@pytest.fixture
def harness(service: Lab, way: Way) -> Harness:
    """Ready to watch: the service enforces in its way, with the policy of these tests."""
    enforce(service, way)
    return Harness(service, way, _ROWS, published=True)


@pytest.fixture
def bare(service: Lab, way: Way) -> Harness:
    """Ready to watch, with no service and no rules yet."""
    service.ramnet.close()
    return Harness(service, way, _ROWS, published=True)


def enforce(lab: Lab, way: Way) -> None:
    """Start the service where it does not run, or not as it should."""
    ramnet = lab.ramnet
    if ramnet.process is None:
        ramnet.start(POLICY, config=config_of(lab, way), seconds=40)
    else:
        ramnet.write_config(config_of(lab, way))
        ramnet.set_policy(POLICY)
    ramnet.wait_status(lambda status: status["state"] == "enforcing", 30)
    scope = ramnet.status()["scopes"][0]
    assert (scope["tier"], scope["scoping"]) == (way.tier, way.scoping), scope


def config_of(lab: Lab, way: Way) -> str:
    """ramnet.toml for a way."""
    keys = way.scope.replace(CGROUP, f"{lab.directory.name}.scope")
    return DEFAULT_CONFIG.replace('netns = "self"\n', f'netns = "self"\n{keys}\n')
