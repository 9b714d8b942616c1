"""Programs that root's commands start load nothing from the directory that root is in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ramnet.verify.inside import Inside
from ramnet.verify.replica import LEASHED, PROGRAM


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """There once a program has loaded ``ramnet`` from the current directory."""
    trace = tmp_path / "loaded"
    (tmp_path / "ramnet").mkdir()
    hostile = f"open({str(trace)!r}, 'w').close()\nraise SystemExit\n"
    (tmp_path / "ramnet" / "__init__.py").write_text(hostile)
    monkeypatch.chdir(tmp_path)
    return trace


def test_the_prober(loaded: Path) -> None:
    Inside(loaded.with_name("ramnet.toml"), "none").close()
    assert not loaded.exists()


@pytest.mark.parametrize("program", [PROGRAM, (*LEASHED, str(os.getpid()), *PROGRAM)])
def test_the_replicas_service(loaded: Path, program: tuple[str, ...]) -> None:
    done = subprocess.run([*program, "rules", "--help"], capture_output=True, check=False)
    assert b"Usage" in done.stdout
    assert not loaded.exists()
