"""A process of a scope's cgroup, told what to do line by line.

Run as a script inside the host: ``python member.py CGROUP_PROCS...`` joins these cgroups, then
evaluates each line it reads and answers with the result, or with the error's name, as JSON.
"""

import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lab.host import Host


class Member:
    """The other end of the pipe. ``tell`` evaluates Python with ``s``, a list of sockets."""

    def __init__(self, host: Host, *directories: Path) -> None:
        procs = [str(directory / "cgroup.procs") for directory in directories]
        command = [*host.enter_command[:1], f"--net={host.network_path}", "--", sys.executable]
        self._process = subprocess.Popen(
            [*command, "-m", "tests.kernel.member", *procs],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert self.tell("True")

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, expression: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def connect(self, family: int, address: str, port: int, text: str = "") -> Any:
        """Connect, and say something; the error's name where it does not go."""
        return self.tell(f"tcp({int(family)}, {address!r}, {port}, {text!r})")

    def send(self, family: int, address: str, port: int, text: str = "hello") -> Any:
        """Send a datagram from a connected socket, twice: the second hears of the first."""
        return self.tell(f"udp({int(family)}, {address!r}, {port}, {text!r})")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(5)
        self._process.stdout.close()


def _serve(procs: list[str]) -> None:
    for path in procs:
        Path(path).write_text(str(os.getpid()))
    sockets: list[socket.socket] = []

    def make(family: int, kind: int) -> socket.socket:
        sock = socket.socket(family, kind)
        sock.settimeout(3)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sockets.append(sock)
        return sock

    def tcp(family: int, address: str, port: int, text: str) -> str:
        sock = make(family, socket.SOCK_STREAM)
        sock.connect((address, port))
        if text:
            sock.sendall(text.encode())
        return "connected"

    def udp(family: int, address: str, port: int, text: str) -> str:
        sock = make(family, socket.SOCK_DGRAM)
        sock.connect((address, port))
        try:
            sock.send(text.encode())
            sock.send(text.encode())
        except (PermissionError, ConnectionRefusedError):  # by the verdict, or by its ICMP error
            return "refused"
        return "sent"

    known = {"s": sockets, "make": make, "tcp": tcp, "udp": udp, "socket": socket, "Path": Path}
    for line in sys.stdin:
        try:
            answer = eval(line, known)
            answer = answer.decode() if isinstance(answer, bytes) else answer
            print(json.dumps(answer), flush=True)
        except OSError as error:
            print(json.dumps(type(error).__name__), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1:])
