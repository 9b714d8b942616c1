"""``python -m ramnet.verify.leashed PARENT COMMAND…``: COMMAND, which is killed when PARENT ends.

A replica's service is stopped (SIGSTOP) nearly all the time: left behind, it would stay for ever.
"""

import os
import signal
import sys

from ramnet.kernel import libc


def main(parent: int, command: list[str]) -> None:
    """Become ``command``, unless the parent has ended meanwhile."""
    libc.die_with_parent(signal.SIGKILL)  # kept over execve(2)
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - ours, without a shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
