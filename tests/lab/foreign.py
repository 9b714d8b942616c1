"""Programs of another suite of Debian, run in the vm beside its own.

``python -m tests.lab.foreign`` fetches what the tests want, so that no test's time goes into it.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from tests.lab.processes import LabError
from tests.lab.vm import Vm

_REPOSITORY: Final = Path(__file__).parents[2]
_FETCH: Final = Path(__file__).with_name("foreign_root.sh")
_NEWEST: Final = ("sid", "docker.io", "libnftables1")
_RAMNET_NEEDS: Final = (
    *("iproute2", "libffi8", "libssl3t64", "libexpat1"),
    *("zlib1g", "liblzma5", "libbz2-1.0", "libsqlite3-0"),
)
"""The program that it runs, and what this machine's Python links."""
_SHARED: Final = ("/proc", "/sys", "/dev", "/run", "/etc")


class ForeignRoot:
    """A root file system of that suite, with this checkout and its Python inside."""

    def __init__(self, suite: str, *packages: str) -> None:
        """Fetch the packages, if they are not here yet. Raises LabError where they cannot be."""
        self._place = _REPOSITORY / "build" / "roots" / suite
        command = [str(_FETCH), suite, str(self._place), *packages, *_RAMNET_NEEDS]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            said = " ".join(done.stderr.split())[-300:]
            raise LabError(f"Debian {suite} cannot be had here: {said}")

    def enter(self, vm: Vm) -> list[str]:
        """What is put before a program to have it run in there, on the vm's network."""
        root = self._place / "root"
        python = Path(sys.executable).resolve()
        trees = [vm.directory, _REPOSITORY, sysconfig.get_paths()["stdlib"]]
        binds = [*(("--rbind", each) for each in _SHARED), *(("--bind", each) for each in trees)]
        script = [
            *(f"mkdir -p '{root}{at}'; mount {how} '{at}' '{root}{at}'" for how, at in binds),
            f"mkdir -p '{root}{python.parent}'; touch '{root}{python}'",
            f"mount --bind '{python}' '{root}{python}'",
            f"ln -sf '{python}' '{root}/usr/bin/python3'",
            f"exec chroot '{root}' \"$@\"",
        ]
        return ["unshare", "--mount", "sh", "-ec", "\n".join(script), "sh"]


def newest() -> ForeignRoot:
    """Debian sid's dockerd and libnftables. Raises LabError where they cannot be."""
    return ForeignRoot(*_NEWEST)


if __name__ == "__main__":
    try:
        newest()
    except LabError as error:
        print(f"tests: {error}; what needs it is skipped", file=sys.stderr)
