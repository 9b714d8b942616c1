"""File descriptors held back for the kernel's rules, for the day when there are none left.

libnftables ends the process when it cannot open a netlink socket, which it does whenever a rule
names an interface. So no work in a namespace begins without descriptors to spare: they are given
up for its length and taken again. A process that has none may still close what another opened.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

from ramnet.errors import KernelRefusedError

SIZE: Final = 16
"""Descriptors that are held."""
LEAST: Final = 8
"""So many must be there to spare: pyroute2 takes five for an answer, libnftables one."""


class Reserve:
    """Of the whole process; work may begin inside other work, on any thread."""

    def __init__(self) -> None:
        """Nothing is held before the first work is done."""
        self._held: list[int] = []
        self._at_work = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Descriptors are free for the length of the block.

        Raises:
            KernelRefusedError: too few of them can be had; nothing was begun.
        """
        with self._lock:
            if not self._at_work:
                self._free()
            self._at_work += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1
                if not self._at_work:
                    self._refill()

    def _free(self) -> None:
        self._refill()
        if len(self._held) < LEAST:
            raise KernelRefusedError(
                "too few file descriptors are left to work with the kernel's rules; they stand as "
                "they are until there are more (LimitNOFILE=, or prlimit(1))"
            )
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()

    def _refill(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._held) < SIZE:
                self._held.append(os.open("/", os.O_PATH | os.O_CLOEXEC))


RESERVE: Final = Reserve()
