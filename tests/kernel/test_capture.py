"""The capture of ``ramnet verify`` on a machine that does not keep still."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from ramnet.kernel.netns import Namespace
from ramnet.verify import capture as module
from ramnet.verify.capture import Capture
from tests.kernel.conftest import FAR4, client
from tests.lab.host import Host


def test_a_flood_without_the_marker_ends_it(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any container may send all the time, and what fills the buffer takes the marker's place."""
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    monkeypatch.setattr(Capture, "_mark", lambda *_: {b"one that does not come"})
    # Slower than what is sent, as on a machine with faster programs than this test's.
    monkeypatch.setattr(Capture, "_packet", lambda *_: time.sleep(0.001))
    vm, done = hosts[0], threading.Event()
    namespace = Namespace(vm.network_path)
    capture = Capture(namespace, ["eth0"], namespace, ["eth0"], outgoing=True)
    with client(vm, socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def flood() -> None:
            while not done.is_set():
                sock.sendto(b"noise", (FAR4, 9))

        thread = threading.Thread(target=flood)
        thread.start()
        watchdog = threading.Timer(10, done.set)
        watchdog.start()
        try:
            assert capture.seen() is None
            assert not done.is_set(), "it ended while the flood went on"
        finally:
            done.set()
            watchdog.cancel()
            thread.join()
            capture.close()
            namespace.close()
