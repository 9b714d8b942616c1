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


DOCKER = {
    "docker.service": "[Unit]\nRequires=docker.socket\nAfter=docker.socket containerd.service\n",
    "docker.socket": "[Socket]\nListenStream=/run/docker.sock\n",
    "containerd.service": "[Unit]\nAfter=network.target local-fs.target\n",
}


def test_init_need_leave_nothing_out(analyze: str, tmp_path: Path) -> None:
    """Once a boot had no ramnet: Before=docker.socket and After=basic.target are a circle."""
    done = _verify(analyze, tmp_path)
    assert "ordering cycle" not in done, done


def test_a_circle_would_be_seen(analyze: str, tmp_path: Path) -> None:
    drop_in = tmp_path / "etc/systemd/system/ramnet.service.d/circle.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Unit]\nBefore=docker.socket\n")
    assert "Found ordering cycle" in _verify(analyze, tmp_path)


def _verify(analyze: str, root: Path) -> str:
    """What systemd says of the start of a machine with our units, its own and Docker's."""
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for file in (*Path("/usr/lib/systemd/system").glob("*.target"), *UNITS.glob("ramnet*")):
        shutil.copy(file, units)
    for name, text in DOCKER.items():
        execute = "[Service]\nExecStart=/bin/true\n" if name.endswith(".service") else ""
        (units / name).write_text(text + execute)
    for daemon in ("docker", "containerd"):
        (units / f"{daemon}.service.d").mkdir()
        shutil.copy(UNITS / "50-ramnet.conf", units / f"{daemon}.service.d")
    wanted = {"sockets": ["docker.socket"], "sysinit": ["ramnet-hold.service"]}
    wanted["multi-user"] = ["docker.service", "ramnet.service", "ramnet-ca.service"]
    for target, names in wanted.items():
        (units / f"{target}.target.wants").mkdir()
        for name in names:
            (units / f"{target}.target.wants" / name).symlink_to(f"../{name}")
    verify = [analyze, "verify", "--man=no", f"--root={root}", "multi-user.target"]
    done = subprocess.run(verify, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_the_gates_uid_is_the_one_of_the_rules() -> None:
    from ramnet.ruleset import GATE_UID

    assert f"u ramnet {GATE_UID} " in (UNITS / "sysusers.conf").read_text()
    assert f" {GATE_UID} {GATE_UID} " in (UNITS / "tmpfiles.conf").read_text()


def test_the_exporters_uid_is_a_user_of_its_own() -> None:
    from ramnet.daemon.exporter import METRICS_UID

    assert f"u ramnet-metrics {METRICS_UID} " in (UNITS / "sysusers.conf").read_text()


def test_dockerd_does_not_go_down_with_the_service() -> None:
    """Restart= takes along what has Requires=, so that must name the hold, which never restarts."""
    drop_in = (UNITS / "50-ramnet.conf").read_text()
    assert re.search(r"^Requires=(.*)$", drop_in, re.MULTILINE)[1] == "ramnet-hold.service"  # type: ignore[index]
    assert re.search(r"^After=.*ramnet\.service", drop_in, re.MULTILINE)
