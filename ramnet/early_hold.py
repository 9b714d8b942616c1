"""``ramnet hold`` as a program: at boot nothing that it can do without is loaded."""

import contextlib
import os
import sys
from pathlib import Path


def run_hold(path: Path) -> int:
    """Refuse everything of every scope; the exit code. See ``ramnet.kernel.hold``."""
    if sys.platform != "linux":
        from ramnet.errors import NOT_LINUX

        tell(NOT_LINUX)
        return 4
    from ramnet.kernel.hold import hold, read_orders

    if os.geteuid() != 0:
        tell("ramnet hold needs root; try again with sudo, or as root")
        return 4
    try:
        return hold(read_orders(path), tell)
    except Exception as error:  # a traceback's exit code, 1, would be taken for "not there yet"
        tell(f"nothing is held for sure: unexpected {error!r}")
        return 4


def tell(sentence: str) -> None:
    """What nobody can read must not keep the next scope from being held."""
    with contextlib.suppress(OSError):
        print(f"ramnet: {sentence}", file=sys.stderr, flush=True)
