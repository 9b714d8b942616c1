"""A host with nothing but cgroup2, at /sys/fs/cgroup: the same tests in such a mount namespace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = "members_alone or anew or two_scopes or left_behind or means_are"


@pytest.mark.timeout(120)
def test_the_promises_hold_where_cgroup2_is_all_there_is() -> None:
    if os.geteuid() != 0:
        pytest.skip("makes mount namespaces: needs root")
    tests = f"{sys.executable} -m pytest -q -p no:cacheprovider {Path(__file__).parent}"
    script = (
        "umount -R -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && "
        f"exec {tests}/test_members.py -k '({_TESTS}) and cgroup2'"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
