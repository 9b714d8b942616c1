"""The parent's end of a prober."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ramnet.errors import KernelRefusedError


class Answer(NamedTuple):
    """What came back to the scope.

    Attributes:
        data: bytes that were read.
        error: errno's name, ``closed``, ``silence``; empty where all went well.
        at_once: what the sender was told when it sent, where that was a refusal.
        port: of a port that was opened.
    """

    data: bytes = b""
    error: str = ""
    at_once: str = ""
    port: int = 0

    def __str__(self) -> str:
        """In one line."""
        if self.data:
            return f"{len(self.data)} bytes: {self.data[:60]!r}"
        return self.error or self.at_once or "nothing"


class Inside:
    """A process in a scope; ``ask`` has it do one thing."""

    def __init__(self, config: Path, scope: str) -> None:
        """Start it in the scope's network namespace."""
        self.patience: float | None = None
        """Seconds to wait for any answer, where that is less than an order says."""
        self._process = subprocess.Popen(
            # -I: root may be in anybody's directory, and `-m` alone looks for modules there first.
            [sys.executable, "-I", "-m", "ramnet.verify.prober", str(config), scope],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, do: str, **order: Any) -> Answer:
        """Give an order. Raises KernelRefusedError where the process cannot go on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self.patience is not None:
            order["seconds"] = min(self.patience, order.get("seconds", self.patience))
        try:
            self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise KernelRefusedError("the process inside the scope has ended")
        said = json.loads(line)
        if "failed" in said:
            raise KernelRefusedError(f"the process inside the scope: {said['failed']}")
        data = bytes.fromhex(said.get("answer", ""))
        error, at_once = said.get("error", ""), said.get("at_once", "")
        return Answer(data, error, at_once, said.get("port", 0))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
