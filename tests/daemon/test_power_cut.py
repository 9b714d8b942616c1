"""kill -9 at each step of a write: what was kept is there whole, old or new."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ramnet.daemon import memfd
from ramnet.daemon.kept import write_whole
from ramnet.trust import files

_KILLED = """
import os, signal, sys
from pathlib import Path
step, way, path = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
left = step

def watch(owner, name, half=False):
    real = getattr(owner, name)
    def call(*arguments):
        global left
        left -= 1
        if left == 0:
            if half:
                real(*arguments[:-1], 3)  # a torn write
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    setattr(owner, name, call)

watch(os, "open"); watch(os, "sendfile", half=True); watch(os, "fsync"); watch(Path, "replace")
if way == "memfd":
    from ramnet.daemon import memfd
    from ramnet.daemon.kept import write_whole
    fd = memfd.create("x")
    os.write(fd, b"new" * 1000)
    write_whole(path, fd)
else:
    from ramnet.trust.files import write_whole
    write_whole(path, b"new" * 1000)
print("done")
"""
OLD, NEW = b"old" * 500, b"new" * 1000


def run(step: int, way: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _KILLED, str(step), way, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("way", ["memfd", "bytes"])
def test_power_cut(way: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.bundle"
    kills, found = 0, []
    for step in range(1, 20):
        path.write_bytes(OLD)
        done = run(step, way, path)
        found.append(path.read_bytes())
        assert found[-1] in (OLD, NEW), step
        if done.stdout == "done\n":
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
    assert kills >= 5
    assert found[0] == OLD
    assert found[-1] == NEW
    # What a killed one left is in nobody's way.
    fd = memfd.create("document")
    os.write(fd, OLD)
    write_whole(path, fd)
    os.close(fd)
    assert path.read_bytes() == OLD
    files.write_whole(path, NEW)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_supervisor_loads_nothing_that_reads_what_a_network_sent() -> None:
    program = (
        "import sys, ramnet.daemon.service\n"
        "print(sorted({'tuf', 'joserfc', 'securesystemslib', 'cryptography', 'urllib3',"
        " 'ramnet.trust.client'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
