"""The real service with stand-ins for the kernel's side and the gate.

``python stub_service.py CONFIG LISTENER_FD``: the gate's one listener is made by the test, so
that the test knows the port. What the service does to the rules goes to ``rules.log`` in the
state directory.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ramnet.config import Config, Scope, load
from ramnet.daemon.guarded_scope import Enforcing
from ramnet.daemon.scope_life import Hold
from ramnet.daemon.service import Means, Service
from ramnet.errors import KernelRefusedError, NamespaceAbsentError, RamnetError
from ramnet.gate.denial.authority import create_authority
from ramnet.gate.spec import Interception
from ramnet.kernel.cover import CoverRules
from ramnet.kernel.docker import gather_proxies
from ramnet.kernel.netns import namespace_path
from ramnet.kernel.surroundings import Near
from ramnet.kernel.watch import Change

CAVEATS = '[{"code": "a", "severity": "high", "state": "active"}]'
STUB_GATE = Path(__file__).with_name("stub_gate.py")


class StubEnforcer:
    """Same interface as ``ramnet.kernel.enforcer.Enforcer``; touches nothing."""

    def __init__(self, config: Config, scope: Scope, listener: socket.socket) -> None:
        self._log = Path(config.state_dir) / "rules.log"
        self._near_file = Path(config.state_dir) / "near"
        self._tampered = Path(config.state_dir) / "tampered"
        self.scope = scope
        self.listeners = {"explicit": [listener]}
        self.problems: list[str] = []
        self.cover: CoverRules | None = None
        self.sinkhole6 = False
        if not Path(namespace_path(scope.netns)).exists():
            raise NamespaceAbsentError(f"netns {scope.netns!r} is not there")
        flags = os.O_RDONLY | os.O_CLOEXEC
        self.namespace_descriptor = os.open(namespace_path(scope.netns), flags)
        self.gate_cgroup: Path | None = None
        self.near = Near(frozenset({"127.0.0.1"}))

    @property
    def gate_ports(self) -> frozenset[int]:
        return frozenset({self.listeners["explicit"][0].getsockname()[1]})

    def install(self) -> None:
        self._note("install")
        if (Path(self._log.parent) / "refuse").exists():
            raise KernelRefusedError("the kernel took less than all of it")
        if (Path(self._log.parent) / "break").exists():
            raise OSError("a library stumbled")

    def apply(self) -> None:
        self._tampered.unlink()
        self._note("apply")

    @property
    def tamper_descriptors(self) -> tuple[int, ...]:
        return ()

    def tampered(self) -> Change:
        return Change()

    def restore(self, *, sets: bool) -> str:
        self.apply()
        return "our table was removed"

    @property
    def interception(self) -> Interception:
        return "redirect"

    def follow_ports(self, named: Iterable[int]) -> dict[str, list[socket.socket]]:
        return {}

    def refresh(self) -> bool:
        if self._near_file.exists():
            self.near = Near(frozenset(self._near_file.read_text().split()))
        return False

    def intact(self) -> bool:
        return not self._tampered.exists()

    def refused(self) -> dict[str, int]:
        return {"tcp": 3, "udp": 2, "other": 1}

    def remove(self) -> None:
        self._note("remove")
        self.close()

    def close(self) -> None:
        self._note("close")

    def leave(self) -> None:
        self._note("leave")

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.scope.name,
            "netns": self.scope.netns,
            "tier": "redirect",
            "scoping": "namespace",
            "reason": "",
        }

    def _note(self, what: str) -> None:
        with self._log.open("a") as file:
            file.write(f"{what}\n")


class StubHold:
    """A hold is a file; what is done to it is noted with the rules."""

    def __init__(self, config: Config) -> None:
        self._file = Path(config.state_dir) / "held"
        self._log = Path(config.state_dir) / "rules.log"

    def apply(self, scope: Scope) -> str | None:
        if self._file.exists():
            return None
        self._file.touch()
        self._note("hold")
        return "everything is refused"

    def release(self, scope: Scope) -> None:
        self._file.unlink()
        self._note("release")

    def _note(self, what: str) -> None:
        with self._log.open("a") as file:
            file.write(f"{what}\n")


def main(config_path: str, listener_fd: str) -> int:
    config = load(config_path)
    daemon_json = Path(config.state_dir) / "daemon.json"
    listener = socket.socket(fileno=int(listener_fd))

    def make(config: Config, scope: Scope) -> Enforcing:
        return StubEnforcer(config, scope, listener)

    hold = StubHold(config)
    means = Means(
        make,
        create_authority,
        worker=(sys.executable, "-I", str(STUB_GATE)),
        docker_proxies=lambda: gather_proxies(daemon_json, Path("/none")),
        docker_daemons=list,
        hold=Hold(hold.apply, hold.release),
        hold_the_bare=lambda tell: tell(f"held: {hold.apply(config.scopes[0])}"),
        running_dockers=list,
        caveats_command=(sys.executable, "-I", "-c", f"print({CAVEATS!r})"),
    )

    async def serve() -> None:
        await Service(config, means).run()

    try:
        asyncio.run(serve())
    except RamnetError as error:
        print(f"ramnet: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
