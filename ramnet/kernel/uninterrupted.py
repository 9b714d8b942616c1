"""Work in the kernel that is done whole, whatever the person at the keyboard does."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP wait for the end of the block.

    What it makes (a cgroup, to try a match with) it takes away again, on threads of its own that
    know of no KeyboardInterrupt; what it takes away it takes away whole.
    """
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
