"""The lines on the serial port, and the helpers that checks are written with.

A line is ``ok NAME``, ``FAIL NAME reason``, ``note NAME value`` or, to have the machine lose its
power in a moment, ``cut NAME``; the last one is ``end``.
"""

import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Check = Callable[[], None]
LIMIT: Final = 180.0
"""Seconds for what should be soon; QEMU may be emulating, and other machines be busy."""
_SINCE: Final = "--cursor-file=/run/vm-explained"
_UNITS: Final = (
    "ramnet-hold.service",
    "ramnet.service",
    "ramnet-ca.service",
    "containerd.service",
    "docker.socket",
    "docker.service",
)


class CheckError(Exception):
    """What was expected did not hold; the text says what was found."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended and what it said, stderr included."""

    code: int
    text: str


def say(word: str, name: str, rest: str = "") -> None:
    """One line, whatever the text holds."""
    if word == "FAIL":
        explain()
    print(f"{word} {name} {' '.join(rest.split())[:400]}".rstrip(), flush=True)


def explain() -> None:
    """All that the services said since the last time, and how they are, on the console."""
    for command in (
        ("journalctl", "--boot", "--no-pager", "--output=short-monotonic", _SINCE),
        ("systemctl", "--no-pager", "--full", "--lines=0", "status", *_UNITS),
        ("systemctl", "--no-pager", "list-jobs"),
    ):
        print(f"== {' '.join(command)}\n{run(*command).text}", file=sys.stderr, flush=True)


def check(name: str, function: Check) -> None:
    """Run one check and say what became of it."""
    try:
        function()
    except CheckError as error:
        say("FAIL", name, str(error))
    except Exception:  # a check that breaks has failed, and the next one is to run
        say("FAIL", name, traceback.format_exc(limit=-2))
    else:
        say("ok", name)


def run(*arguments: str, seconds: float = LIMIT) -> Done:
    """Run a program to its end."""
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return Done(-1, f"{' '.join(arguments)}: not done within {seconds:g} s")
    return Done(done.returncode, done.stdout + done.stderr)


def need(held: bool, otherwise: str) -> None:
    """Raise CheckError with what was found, unless it held."""
    if not held:
        raise CheckError(otherwise)


def wait(what: str, held: Callable[[], bool], seconds: float = LIMIT) -> None:
    """Until it holds; CheckError when it does not come."""
    end = time.monotonic() + seconds
    while not held():
        if time.monotonic() > end:
            raise CheckError(f"{what}: not within {seconds:g} s")
        time.sleep(0.2)
