"""Where the gate's sockets to the world are made: in its scope's network namespace, or another.

A socket belongs to the namespace of the thread that makes it, and works from any other thread. So
a thread that was started before the gate entered the scope's namespace makes them in ramnet's own
(``dial = "own"``). What is near is dialled from the scope all the same: it is nowhere else.
"""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

Make = Callable[[int, int], socket.socket]


def _here(family: int, kind: int) -> socket.socket:
    return socket.socket(family, kind)


_make: Make = _here


def open_socket(family: int, kind: int) -> socket.socket:
    """A socket to the world. Raises OSError."""
    return _make(family, kind)


def stay_behind(prepare: Callable[[], None]) -> None:
    """From now on make them in the network namespace that this process is in at this moment.

    ``prepare`` is run on the thread that makes them: what no_new_privs (prctl(2)) does is done
    for one thread alone.
    """
    global _make
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outward")
    thread.submit(prepare).result()

    def make(family: int, kind: int) -> socket.socket:
        return thread.submit(socket.socket, family, kind).result()

    _make = make
