"""Both hosts, the wire, and what runs on them, as one thing that is made and taken down."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from tests.lab.capture import Capture
from tests.lab.certificates import Authority
from tests.lab.docker import Docker
from tests.lab.host import PATH
from tests.lab.inet import Inet
from tests.lab.service import Ramnet
from tests.lab.sweep import make_directory, remove_directory, sweep
from tests.lab.vm import Vm

_NO_PROGRAM = {"#", "-", "?"}
_PACKAGES = Path(__file__).with_name("packages.txt")


def missing() -> list[str]:
    """What this machine lacks to run a lab, in words; empty when it can."""
    lacks = [] if _is_root() else ["root privileges"]
    for line in _PACKAGES.read_text().splitlines():
        program, _, packages = line.partition(" ")
        if program not in _NO_PROGRAM and shutil.which(program, path=PATH) is None:
            lacks.append(f"{program} ({packages.split()[-1]})")
    return lacks


def _is_root() -> bool:
    return Path("/proc/self").stat().st_uid == 0


class Lab:
    """The lab; see the package's design note.

    Attributes:
        directory: everything it keeps on disk, logs included, gone after `close`.
        docker: the vm's dockerd, not started.
        ramnet: the service, not started.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with contextlib.ExitStack() as undo:
            undo.callback(remove_directory, directory)
            self.authority = Authority(directory / "authority")
            self.vm = Vm.create("vm", directory / "vm")
            undo.callback(self.vm.close)
            self.inet = Inet.create("inet", directory / "inet")
            undo.callback(self.inet.close)
            self.vm.build(self.inet, self.authority)
            self.inet.build(self.authority)
            self.docker = Docker(self.vm, cgroup=directory.name)
            self.ramnet = Ramnet(self.vm)
            undo.callback(self.ramnet.close)
            self._undo = undo.pop_all()

    @classmethod
    def create(cls) -> Lab:
        """Sweep the remains of crashed labs, then make one. Raises LabError when that fails."""
        sweep()
        return cls(make_directory())

    def second_docker(self, name: str) -> Docker:
        """A further dockerd beside the first, for pulls and builds without RUN."""
        return Docker(self.vm, name, cgroup=self.directory.name)

    def capture(self) -> Capture:
        """Start a capture; use it in a `with` block."""
        return Capture(self.vm, self.inet)

    def close(self) -> None:
        """End everything and leave nothing behind."""
        self._undo.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
