"""``docker ram``, by the real command line of Docker."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.cli.docker_plugin import own_arguments

pytestmark = pytest.mark.lab
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A configuration of Docker's with the plugin, and one of ramnet's; anybody may read them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        plugin = folder / "cli-plugins" / "docker-ram"
        plugin.parent.mkdir()
        plugin.write_text(
            f"#!{sys.executable} -I\nfrom ramnet.cli.docker_plugin import main\nmain()\n"
        )
        plugin.chmod(0o755)
        (folder / "policy.toml").write_text('presets = ["ghcr"]\n')
        (folder / "ramnet.toml").write_text(
            f'policy = "{folder}/policy.toml"\ncontrol_socket = "{folder}/control.sock"\n'
            '[[scope]]\nname = "dockerd"\n'
        )
        yield folder


@pytest.mark.parametrize(
    "before",
    [
        ["--context", "ram"],
        ["--context=ram"],
        ["-c", "ram"],
        ["-cram"],
        ["-Dc", "ram"],
        ["-D", "--log-level", "debug", "--host", "ram", "-H", "ram"],
        [],
    ],
)
def test_a_value_of_dockers_own_options_is_not_the_plugins_name(before: list[str]) -> None:
    own = ["check", "ram", "--context", "x"]
    assert own_arguments([*before, "ram", *own]) == own


def test_by_its_own_name_it_takes_all_it_is_given() -> None:
    assert own_arguments(["status", "--json"]) == ["status", "--json"]
    assert own_arguments(["help", "ram"]) == []


def docker(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As a user without privileges."""
    return subprocess.run(
        ["docker", "--config", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=30,
        user=NOBODY if os.geteuid() == 0 else None,
    )


def test_docker_knows_the_plugin_and_passes_words_and_exit_codes(folder: Path) -> None:
    assert "ram*" in docker(folder, "--help").stdout
    config = ("--config", str(folder / "ramnet.toml"))
    allowed = docker(folder, "ram", "check", *config, "ghcr.io")
    assert (allowed.returncode, allowed.stdout.startswith("ghcr.io: allowed")) == (0, True), allowed
    assert docker(folder, "ram", "check", *config, "quay.io").returncode == 1
    status = docker(folder, "ram", "status", *config)
    assert status.returncode == 3
    assert "ramnet run" in status.stderr


def test_a_context_may_be_called_as_the_plugin_is(folder: Path) -> None:
    """Docker hands on its own options as they were typed, and knows no such context itself."""
    words = ("ram", "check", "--config", str(folder / "ramnet.toml"), "ghcr.io")
    allowed = docker(folder, "--context", "ram", *words)
    assert (allowed.returncode, allowed.stdout.startswith("ghcr.io: allowed")) == (0, True), allowed
