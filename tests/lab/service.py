"""`ramnet run` in the vm, started again whenever it ends: the loop stands for init."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.host import Host
from tests.lab.processes import LabError, Notify, Process, Result, wait_until

#: The program of the environment that runs the tests.
PROGRAM = str(Path(sys.executable).with_name("ramnet"))
CONFIG = "/etc/ramnet/ramnet.toml"
POLICY = "/etc/ramnet/policy.toml"

#: The sentence's parts that tests and the demo look for.
ORGANIZATION = "acme"
CONTACT = "ask it-help@acme.example to add a registry"

DEFAULT_CONFIG = """
policy = "/etc/ramnet/policy.toml"
state_dir = "{state}"
control_socket = "/run/ramnet/control.sock"

[[scope]]
name = "dockerd"
netns = "self"

[proxy]
explicit = ["127.0.0.1:3128"]
"""

_CONTROL = "/run/ramnet/control.sock"
_PAUSE = 0.1  # seconds before init starts it again


def policy_text(*hosts: str, denied: tuple[str, ...] = (), version: int = 1) -> str:
    """A policy document that allows these hosts and nothing else."""
    lines = [
        f"version = {version}",
        f'organization = "{ORGANIZATION}"',
        f'contact = "{CONTACT}"',
        "docker_hub = false",
    ]
    lines += [f'[[registry]]\nhost = "{host}"' for host in hosts]
    lines += [f'[[registry]]\nhost = "{host}"\nallowed = false' for host in denied]
    return "\n".join(lines) + "\n"


class Ramnet:
    """The service and its commands.

    Attributes:
        process: the privileged process of this moment, None when the service is stopped.
        starts: how often it was started, the restarts of the loop included.
        without: capabilities that service and commands are told to do without, by comma.
        environment: further variables of theirs.
    """

    def __init__(self, vm: Host) -> None:
        self._vm = vm
        self._state = vm.directory / "ramnet"
        self._state.mkdir()
        self._notify: Notify | None = None
        self._init: threading.Thread | None = None
        self._stopping = threading.Event()
        self.process: Process | None = None
        self.starts = 0
        self.without = ""
        self.environment: dict[str, str] = {}

    @property
    def _variables(self) -> dict[str, str]:
        return {"RAMNET_WITHOUT": self.without} | self.environment

    def write_config(self, text: str | None = None) -> None:
        """Write ramnet.toml; `{state}` in it stands for a directory of the vm's own."""
        self._vm.write(CONFIG, (text or DEFAULT_CONFIG).replace("{state}", str(self._state)))

    def write_policy(self, text: str) -> None:
        """Replace policy.toml in one step, as an administrator's tool should."""
        self._vm.write(f"{POLICY}.new", text)
        self._vm.path(f"{POLICY}.new").rename(self._vm.path(POLICY))

    def start(self, policy: str | None = None, *, config: str | None = None,
              seconds: float = 20) -> None:  # fmt: skip
        """Start the service and wait until it enforces (READY=1 of sd_notify(3)).

        Raises LabError with its log when it ends instead, or takes longer than `seconds`.
        """
        if self._init is not None:
            raise LabError("ramnet runs already")
        self.write_config(config)
        if policy is not None:
            self.write_policy(policy)
        self._notify = Notify(self._state / "notify")
        self._stopping.clear()
        process = self._launch()
        self._init = threading.Thread(target=self._keep, args=(process,), name="init", daemon=True)
        self._init.start()
        try:
            self._notify.wait_ready(process, seconds)
        except LabError:
            self.stop()
            raise

    def _launch(self) -> Process:
        assert self._notify is not None
        self.starts += 1
        self.process = self._vm.start(
            [PROGRAM, "run", "--config", CONFIG],
            log="ramnet",
            environment={"NOTIFY_SOCKET": str(self._notify.path)} | self._variables,
        )
        return self.process

    def _keep(self, process: Process) -> None:
        while True:
            process.wait_for_end()
            if self._stopping.wait(_PAUSE):
                return
            process = self._launch()

    def wait_restarted(self, seconds: float = 20) -> None:
        """Wait until the service, started again by the loop, says that it enforces."""
        assert self._notify is not None
        assert self.process is not None
        self._notify.wait_ready(None, seconds)

    def stop(self) -> None:
        """Stop the service and its loop; rules stay, as after any stop."""
        if self._init is None:
            return
        self._stopping.set()
        while self._init.is_alive():
            if self.process is not None:
                self.process.stop()
            self._init.join(0.05)
        assert self._notify is not None
        self._notify.close()
        self._init = self._notify = self.process = None

    def kill(self) -> None:
        """Kill it where init does not have it back; what it leaves is as after any death."""
        supervisor = self.supervisor_pid()
        self._stopping.set()
        self.signal(supervisor)
        self.stop()

    def down(self) -> Result:
        """Take every rule away."""
        return self.command("down")

    def close(self) -> None:
        """Stop it and leave nothing in the vm's kernel state, for the next test."""
        running = self._init is not None
        self.stop()
        if running or self._vm.path(CONFIG).exists():
            self.down().check()
            self._vm.path(CONFIG).unlink()

    def command(self, *arguments: str, seconds: float = 30, stdin: str = "") -> Result:
        """Run a ramnet command in the vm, with the service's configuration file."""
        argv = [PROGRAM, *arguments, "--config", CONFIG]
        return self._vm.run(argv, seconds=seconds, stdin=stdin, environment=self._variables)

    def status(self) -> dict[str, Any]:
        """What `ramnet status --json` prints, from where it has it. Raises LabError without it.

        Asked of the control socket: it is asked often, and a command takes a hundred times longer.
        """
        try:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(10)
                control.connect(str(self._vm.path(_CONTROL)))
                control.sendall(b"GET /v1/status HTTP/1.1\r\nHost: ramnet\r\n\r\n")
                with control.makefile("rb") as answer:
                    head, _, body = answer.read().partition(b"\r\n\r\n")
        except OSError as error:
            raise LabError(f"the service does not answer: {error}") from None
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise LabError(f"the service answers {body!r}")
        return dict(json.loads(body))

    def wait_status(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 10) -> None:
        """Ask for the status until it is as wanted; a service that does not answer is not.

        Raises LabError with what it said last.
        """
        last: object = None

        def as_wanted() -> bool:
            nonlocal last
            try:
                status = last = self.status()
                return wanted(status)
            except (LabError, KeyError, IndexError, TypeError) as error:
                last = f"{last}; {error!r}"[-4000:] if isinstance(error, LabError) else last
            return False

        try:
            wait_until("ramnet status", as_wanted, seconds)
        except LabError as error:
            raise LabError(f"{error}; the last one: {last}") from None

    def set_policy(self, text: str, seconds: float = 10) -> None:
        """Replace the policy and wait until the status names the document by its SHA-256, and no
        fault of one before it."""
        self.write_policy(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.wait_status(
            lambda status: digest in json.dumps(status) and not status["policy"]["error"], seconds
        )

    def events(self, *options: str) -> list[dict[str, Any]]:
        """The audit events, oldest first."""
        lines = self.command("events", "--json", *options).check().out.splitlines()
        return [json.loads(line) for line in lines]

    def log_tail(self) -> str:
        """What the service said last, in this run and those before."""
        return self.process.tail() if self.process is not None else "(it does not run)"

    def supervisor_pid(self) -> int:
        """The privileged process, as a pid of the vm."""
        return int(self.status()["supervisor"]["pid"])

    def gate_pid(self, scope: str = "dockerd") -> int:
        """The unprivileged process of a scope, as a pid of the vm."""
        scopes = {entry["name"]: entry for entry in self.status()["scopes"]}
        return int(scopes[scope]["gate_pid"])

    def signal(self, pid: int, name: str = "KILL") -> None:
        """Send a signal to a pid of the vm."""
        self._vm.run(["sh", "-c", f"kill -{name} {pid}"]).check()
