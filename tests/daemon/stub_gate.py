"""A gate that is quickly made: it tells every client who it is and which policy it has."""

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

from ramnet.daemon import worker
from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.journal import Level
from ramnet.policy import Policy

NAMES = ("docker.io", "login.example", "dev.example", "anything.example")


class StubGate:
    """Same interface as ``ramnet.gate.gate.Gate``."""

    def __init__(self, spec: GateSpec, surroundings: Surroundings) -> None:
        self._spec, self._surroundings = spec, surroundings
        self._policy = Policy.empty("nothing yet")
        self._level: Level = "info"
        self._servers: list[asyncio.Server] = []

    async def start(self, listeners: dict[str, list[socket.socket]]) -> None:
        for listener in listeners["explicit"]:
            self._servers.append(await asyncio.start_server(self._tell, sock=listener))

    async def listen(self, listeners: dict[str, list[socket.socket]]) -> None:
        pass

    def replace_policy(self, policy: Policy) -> None:
        self._policy = policy

    def update_surroundings(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def set_log_level(self, level: Level) -> None:
        self._level = level

    def status(self) -> dict[str, Any]:
        return {"resolver": {"scope": self._spec.scope}, "proxy": {}, "events_lost": 0}

    async def close(self) -> None:
        for server in self._servers:
            server.close()

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        facts = {
            "pid": os.getpid(),
            "uids": os.getresuid(),
            "gids": os.getresgid(),
            "groups": os.getgroups(),
            "parent_death_signal": _parent_death_signal(),
            "version": self._policy.version,
            "log_level": self._level,
            "sentence": self._policy.sentence("h.example"),
            "allowed": [name for name in NAMES if self._policy.decide(name).allowed],
            "resolv_conf": self._surroundings.resolv_conf,
            "addresses": self._surroundings.addresses,
        }
        writer.write(json.dumps(facts).encode())
        writer.close()


def _parent_death_signal() -> int:
    import ctypes

    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0)  # PR_GET_PDEATHSIG
    return number.value


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(worker.main(sys.argv[1:], StubGate))
