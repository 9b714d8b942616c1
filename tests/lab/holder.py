"""The first process of a lab host: run as a script, by any Python, with nothing installed.

It reaps orphans as an init must, and ends when the pipe on its standard input closes; the kernel
then kills every process of its process-id namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def reap(_signal: int, _frame: object) -> None:
    """Collect every child that has ended (waitpid(2))."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, reap)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
