"""The unit files that the package installs, read by systemd's own tool."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "vm-image" / "units"
BEST_SCORE = 3.0


@pytest.fixture
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        reason = "systemd-analyze is not here (Debian: apt install systemd)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return program


def test_the_service_is_exposed_no_more_than_its_work_needs(analyze: str) -> None:
    unit = UNITS / "ramnet.service"
    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--no-pager", unit], capture_output=True, text=True
    )
    found = re.search(r"Overall exposure level for ramnet.service: (\d+\.\d)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= BEST_SCORE, done.stdout


def test_the_gates_uid_is_the_one_of_the_rules() -> None:
    from ramnet.ruleset import GATE_UID

    assert f"u ramnet {GATE_UID} " in (UNITS / "sysusers.conf").read_text()
    assert f" {GATE_UID} {GATE_UID} " in (UNITS / "tmpfiles.conf").read_text()


def test_dockerd_does_not_go_down_with_the_service() -> None:
    """Restart= takes along what has Requires=, so that must name the hold, which never restarts."""
    drop_in = (UNITS / "50-ramnet.conf").read_text()
    assert re.search(r"^Requires=(.*)$", drop_in, re.MULTILINE)[1] == "ramnet-hold.service"  # type: ignore[index]
    assert re.search(r"^After=.*ramnet\.service", drop_in, re.MULTILINE)
