"""sd_notify(3) as systemd expects it."""

import os
import socket
from pathlib import Path

import pytest

from ramnet.daemon.notify import notify, watchdog_interval


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("value", ["", "nonsense", "/nonexistent/notify"])
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", value)
    notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "pid", "interval"),
    [
        ("10000000", None, 5.0),
        ("10000000", str(os.getpid()), 5.0),
        ("10000000", "1", None),
        ("", None, None),
        ("soon", None, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str | None, interval: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_interval() == interval
