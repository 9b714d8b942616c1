"""The service manager's ear: sd_notify(3) over NOTIFY_SOCKET, and its watchdog."""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Tell the service manager, if one listens; what goes wrong there is no trouble of ours."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.setblocking(False)
        sock.sendto(state.encode(), address)


def watchdog_interval() -> float | None:
    """Seconds between two ``WATCHDOG=1``: half of what the manager allows; None without one."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or pid != str(os.getpid()):
        return None
    return int(microseconds) / 2e6
