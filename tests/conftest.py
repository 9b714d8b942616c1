"""Fixtures of the lab for every test; nothing is built before a test asks for it."""

import ctypes
import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

from tests.lab.fixtures import capture, docker, inet, lab, ramnet, vm

__all__ = ["capture", "docker", "inet", "lab", "ramnet", "vm"]

# The same examples every time; `pytest --hypothesis-profile=search` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("repeatable")

_CLONE_NEWNS: Final = 0x20000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000
_MNT_DETACH: Final = 2


def pytest_configure() -> None:
    """Mounts that tests make are this process's own, and end with it whatever ends it.

    So are those that an earlier run left behind before this was so.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    alone = libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None)
    if alone != 0:
        raise OSError(ctypes.get_errno(), "no mount namespace can be had for the tests")
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        source, target = line.split(" ")[:2]
        if source == "ramnet":
            libc.umount2(target.encode(), _MNT_DETACH)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What made a test be run again is told in full, though the test passed then."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"before the rerun: {report.nodeid}")
        terminalreporter.line(report.longreprtext)
