"""``ramnet hold`` as a program: at boot nothing that it can do without is loaded."""

import os
import sys
from pathlib import Path


def run_hold(path: Path) -> int:
    """Refuse everything of every scope; the exit code. See ``ramnet.kernel.hold``."""
    if sys.platform != "linux":
        from ramnet.errors import NOT_LINUX

        _tell(NOT_LINUX)
        return 4
    from ramnet.kernel.hold import hold, read_orders

    if os.geteuid() != 0:
        _tell("ramnet hold needs root; try again with sudo, or as root")
        return 4
    return hold(read_orders(path), _tell)


def _tell(sentence: str) -> None:
    print(f"ramnet: {sentence}", file=sys.stderr, flush=True)
