"""What init waits for where there is no service manager: ``vm-image/lib/init wait``."""

import json
import os
import subprocess
from pathlib import Path

import pytest

_VM = Path(__file__).parents[2] / "vm-image"


def _status(folder: Path, *states: str) -> None:
    """A ``ramnet status --json`` that has these states one after the other, and exits by them."""
    for number, state in enumerate(states):
        document = {"state": state, "session": {"state": "enforcing"}}
        (folder / f"said.{number}").write_text(json.dumps(document, indent=2))
    program = folder / "ramnet"
    program.write_text(
        f"#!/bin/sh\ncd {folder}\nfor f in said.*; do break; done\ncat $f\n"
        "grep -q enforcing $f\nstatus=$?\nrm $f\nexit $status\n"
    )
    program.chmod(0o755)


@pytest.mark.parametrize("state", ["enforcing", "auditing", "refusing"])
def test_dockerd_starts_once_it_is_decided(tmp_path: Path, state: str) -> None:
    """`wait` was for `enforcing`: with sign-in enforced, or an audit policy, dockerd never came."""
    _status(tmp_path, "starting", state, "starting")
    script = (_VM / "lib" / "init").read_text()
    text = script.replace("PATH=/usr/sbin", f"PATH={tmp_path}:/usr/sbin")
    done = subprocess.run(["sh", "-c", text, "init", "wait"], timeout=20, env=os.environ)
    assert done.returncode == 0
    assert [path.name for path in tmp_path.glob("said.*")] == ["said.2"]


def test_openrc_waits_for_the_same() -> None:
    condition = r'"state": "\(enforcing\|auditing\|refusing\)"'
    assert condition in (_VM / "openrc" / "ramnet").read_text()
    assert condition in (_VM / "lib" / "init").read_text()
