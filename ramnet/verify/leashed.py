"""``python -m ramnet.verify.leashed PARENT …``: ``ramnet …``, which ends when PARENT does.

A replica's service is stopped (SIGSTOP) nearly all the time: left behind, it would stay for ever.
"""

import os
import signal
import sys

from ramnet.entry import main
from ramnet.kernel import libc


def run() -> int:
    """The program ``ramnet`` without the first argument, the pid of who started this."""
    libc.die_with_parent(signal.SIGKILL)
    if os.getppid() != int(sys.argv.pop(1)):
        return 1
    return main()


if __name__ == "__main__":
    sys.exit(run())
