"""A service in a process of its own, whose every sentence can be waited for."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SERVICE = Path(__file__).with_name("stub_service.py")
POLICY = 'version = {version}\norganization = "acme"\n'
PATIENCE = 20.0


class Running:
    """One run of the service, and what it says."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self.folder = folder
        self.said: list[str] = []
        self._rest = b""
        self.process = subprocess.Popen(
            [sys.executable, str(SERVICE), str(folder / "ramnet.toml"), str(listener.fileno())],
            stderr=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
        )

    def wait_for(self, words: str, patience: float = PATIENCE) -> str:
        """The next sentence with these words; fails when it does not come."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            *lines, self._rest = self._rest.split(b"\n")
            for number, line in enumerate(lines):
                self.said.append(line.decode())
                if words in self.said[-1]:
                    self._rest = b"\n".join([*lines[number + 1 :], self._rest])
                    return self.said[-1]
            left = max(deadline - time.monotonic(), 0)
            if select.select([self.process.stderr], [], [], left)[0]:
                data = os.read(self.process.stderr.fileno(), 65536)
                if not data:
                    break
                self._rest += data
        raise AssertionError(f"{words!r} was not said; said was: {self.said}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it, and return how it ended."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


class Bench:
    """Directories, configuration and listener for runs of the service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state, self.control = folder / "state", folder / "run" / "control.sock"
        self.policy = folder / "policy.toml"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.runs: list[Running] = []
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(folder / "notify"))
        self.notified.settimeout(PATIENCE)
        self.configure()
        self.write_policy(1)

    def configure(self, extra: str = "", *, tls: str = "alert") -> None:
        (self.folder / "ramnet.toml").write_text(
            f'policy = "{self.policy}"\nstate_dir = "{self.state}"\n'
            f'control_socket = "{self.control}"\n[[scope]]\nname = "dockerd"\n'
            f'[resolver]\nupstream = ["192.0.2.53"]\n[denial]\ntls = "{tls}"\n{extra}'
        )

    def write_policy(self, version: int, text: str = POLICY) -> None:
        new = self.folder / "policy.new"
        new.write_text(text.format(version=version))
        new.replace(self.policy)

    def start(self) -> Running:
        run = Running(self.folder, self.listener)
        self.runs.append(run)
        return run

    def ask_gate(self) -> dict[str, Any]:
        """What the gate says to a client of the one listener."""
        with socket.create_connection(self.listener.getsockname(), timeout=PATIENCE) as client:
            data = b""
            while piece := client.recv(65536):
                data += piece
        answer: dict[str, Any] = json.loads(data)
        return answer

    def rules(self) -> list[str]:
        """What was done to the rules."""
        return (self.state / "rules.log").read_text().split()

    def close(self) -> None:
        for run in self.runs:
            run.close()
        self.listener.close()
        self.notified.close()


@pytest.fixture
def make_bench() -> Iterator[Callable[[str], Bench]]:
    """Benches below a parent directory; readable for the gate's uid, unlike pytest's own."""
    benches: list[Bench] = []

    def make(parent: str) -> Bench:
        folder = Path(tempfile.mkdtemp(prefix="ramnet-", dir=parent))
        folder.chmod(0o755)
        benches.append(Bench(folder))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()
        shutil.rmtree(bench.folder)


@pytest.fixture
def bench(make_bench: Callable[[str], Bench]) -> Bench:
    if os.geteuid() != 0:
        pytest.skip("needs root: the service changes its user")
    return make_bench(tempfile.gettempdir())
