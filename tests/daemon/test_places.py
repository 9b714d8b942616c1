"""The lock of the run directory is root's alone."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from ramnet.daemon.places import Lock
from ramnet.errors import RamnetError


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_nobody_else_can_take_the_lock() -> None:
    """A file that others may read they may flock(2), and then no service could start again."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "lock")
        path.touch(0o644)
        Lock(Path(folder)).release()
        assert path.stat().st_mode & 0o777 == 0o600
        taken = subprocess.run(
            ["flock", "-n", path, "true"], user=65534, capture_output=True, check=False
        )
    assert b"denied" in taken.stderr


def test_a_second_service_is_told_who_runs(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(RamnetError, match=f"pid {os.getpid()}"):
        Lock(tmp_path)
    lock.release()
