"""The control socket, with curl as its client and with clients that misbehave."""

import asyncio
import contextlib
import grp
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ramnet.daemon import control
from ramnet.daemon.client import ask
from ramnet.daemon.control import Control, Route
from ramnet.errors import KernelRefusedError, NotRunningError, RamnetError
from ramnet.ruleset import GATE_UID

NOBODY = 65534


async def status() -> dict[str, str]:
    return {"state": "enforcing"}


async def down() -> dict[str, str]:
    return {"state": "down"}


async def echo(body: bytes) -> dict[str, str]:
    return {"body": body.decode()}


async def failing() -> None:
    raise KernelRefusedError("the kernel said no")


def serve(path: Path, client: Callable[[], Any]) -> Any:
    """Run a blocking client against the socket."""

    async def both() -> Any:
        served = Control(
            path,
            {
                ("GET", "/v1/status"): Route(status),
                ("POST", "/v1/down"): Route(down, root_only=True),
                ("POST", "/v1/fail"): Route(failing),
                ("POST", "/v1/change"): Route(echo, changes=True, body=True),
            },
        )
        await served.start()
        try:
            return await asyncio.to_thread(client)
        finally:
            await served.close()

    return asyncio.run(both())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def curl(
    path: Path,
    *arguments: str,
    user: int | None = None,
    group: int | None = None,
    further: list[int] | None = None,
) -> tuple[int, Any]:
    """``user`` is of the group of the same number, where no other is given."""
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", "--unix-socket", path, *arguments],
        capture_output=True,
        text=True,
        check=True,
        user=user,
        group=user if group is None else group,
        extra_groups=further if user is None else further or [],
    )
    body, _, code = done.stdout.rpartition("\n")
    return int(code), json.loads(body) if body else None


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["http://ramnet/v1/status"], (200, {"state": "enforcing"})),
        (["http://ramnet/v1/status?x=1"], (200, {"state": "enforcing"})),
        (["-I", "-o", "/dev/null", "http://ramnet/v1/status"], (200, None)),
        (
            ["-X", "DELETE", "http://ramnet/v1/status"],
            (405, {"error": "/v1/status does not take DELETE"}),
        ),
        (["http://ramnet/v2"], (404, {"error": "there is no /v2"})),
        (["-X", "POST", "http://ramnet/v1/fail"], (500, {"error": "the kernel said no"})),
    ],
)
def test_curl_is_a_client(path: Path, arguments: list[str], answer: tuple[int, Any]) -> None:
    assert serve(path, lambda: curl(path, *arguments)) == answer


def test_the_client_of_the_commands(path: Path) -> None:
    assert serve(path, lambda: ask(path, "GET", "/v1/status")) == {"state": "enforcing"}
    with pytest.raises(RamnetError, match="the kernel said no"):
        serve(path, lambda: ask(path, "POST", "/v1/fail"))
    with pytest.raises(NotRunningError):
        ask(path, "GET", "/v1/status")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_others_may_look_and_only_root_may_change() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "control.sock")

        def as_nobody(*arguments: str) -> tuple[int, Any]:
            command = [
                "curl",
                "-sS",
                "-w",
                "\n%{http_code}",
                "--unix-socket",
                str(path),
                *arguments,
            ]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, user=NOBODY, group=NOBODY
            )
            body, _, code = done.stdout.rpartition("\n")
            return int(code), json.loads(body)

        look = serve(path, lambda: as_nobody("http://ramnet/v1/status"))
        change = serve(path, lambda: as_nobody("-X", "POST", "http://ramnet/v1/down"))
        assert look == (200, {"state": "enforcing"})
        assert change == (403, {"error": "only root may do that"})
        assert serve(path, lambda: ask(path, "POST", "/v1/down")) == {"state": "down"}


@pytest.mark.parametrize(
    "request_",
    [b"\x16\x03\x01", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r", b"", b"A" * 100_000],
)
def test_nonsense_gets_an_answer_or_an_end(path: Path, request_: bytes) -> None:
    def client() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(path))
            try:
                sock.sendall(request_)
                sock.shutdown(socket.SHUT_WR)
                return sock.recv(65536)
            except (BrokenPipeError, ConnectionResetError):
                return b""

    answer = serve(path, client)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_a_client_that_says_nothing_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "TIME_LIMIT", 0.05)

    def client() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(path))
            return sock.recv(1)

    assert serve(path, client) == b""


def test_too_many_clients_are_turned_away_and_the_rest_is_served(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", 2)
    monkeypatch.setattr(control, "TIME_LIMIT", 60)  # so that this is not what ends the third

    def client() -> Any:
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for sock in waiting:
            sock.settimeout(20)
            sock.connect(str(path))
        turned_away = waiting[2].recv(1)
        for sock in waiting:
            sock.close()
        return turned_away

    assert serve(path, client) == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.parametrize(("most", "asking"), [
    ((2, 512), 0), ((2, 512), NOBODY - 1), ((32, 2), 0),
])  # fmt: skip
def test_who_holds_every_place_keeps_nobody_else_out(
    monkeypatch: pytest.MonkeyPatch, most: tuple[int, int], asking: int
) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", most[0])
    monkeypatch.setattr(control, "MAX_OTHERS", most[1])
    monkeypatch.setattr(control, "TIME_LIMIT", 60)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "control.sock")

        def client() -> Any:
            hold = "import socket,sys\nheld=[socket.socket(1) for _ in range(9)]\n"
            hold += f"for s in held: s.connect({str(path)!r})\nprint(flush=True)\nsys.stdin.read()"
            with subprocess.Popen(
                ["python3", "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=NOBODY
            ) as holder:
                assert holder.stdout is not None
                holder.stdout.readline()
                return curl(path, "http://ramnet/v1/status", user=asking)

        assert serve(path, client) == (200, {"state": "enforcing"})


_FLOOD = """
import socket, sys
held = []
for number in range(1000):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(sys.argv[1])
    if number == 100:
        print(flush=True)
print(flush=True)
sys.stdin.read()
"""


def ask_as(user: int, path: Path) -> Any:
    """As somebody else, who waits to be let in (curl does not)."""
    program = (
        "import socket,sys\ns=socket.socket(1)\ns.connect(sys.argv[1])\n"
        "s.sendall(b'GET /v1/status HTTP/1.1\\r\\nHost: ramnet\\r\\n\\r\\n')\n"
        "print(s.makefile().read())"
    )
    done = subprocess.run(
        ["python3", "-c", program, path], capture_output=True, text=True, check=True, user=user,
        group=user, extra_groups=[],
    )  # fmt: skip
    return json.loads(done.stdout.partition("\n\n")[2])


def _flooding(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["python3", "-c", _FLOOD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        user=NOBODY, group=NOBODY, extra_groups=[],
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_ten_thousand_connections_of_one_user_hurt_nobody_else() -> None:
    """Neither root nor another user, while they are made and while they are held."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "control.sock")

        def client() -> list[Any]:
            answers = []
            with contextlib.ExitStack() as stack:
                flood = [stack.enter_context(_flooding(path)) for _ in range(10)]
                for _ in ("while they are made", "while they are held"):
                    assert [f.stdout.readline() for f in flood if f.stdout] == [b"\n"] * 10
                    answers.append(ask(path, "GET", "/v1/status"))
                    answers.append(ask_as(NOBODY - 1, path))
                answers.append(curl(path, "http://ramnet/v1/status", user=NOBODY - 1)[1])
            return answers

        assert serve(path, client) == [{"state": "enforcing"}] * 5


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.parametrize(
    ("user", "group", "further", "answer"),
    [
        (0, 0, [], (200, {"state": "down"})),
        (NOBODY, 4711, [], (403, {"error": "only root may do that"})),
        (NOBODY, NOBODY, [4711], (403, {"error": "only root may do that"})),
        (NOBODY, NOBODY, [], (403, {"error": "only root may do that"})),
    ],
    ids=["root", "by its own group", "by a further group", "anybody"],
)
def test_down_is_for_root_and_not_for_the_group(
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    group: int,
    further: list[int],
    answer: tuple[int, Any],
) -> None:
    monkeypatch.setattr(grp, "getgrnam", lambda _: grp.struct_group(("ramnet", "x", 4711, [])))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "control.sock")
        down = ["-X", "POST", "http://ramnet/v1/down"]
        assert serve(path, lambda: curl(path, *down, user=user, group=group, further=further)) == (
            answer
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.parametrize(
    ("user", "group", "further", "code"),
    [
        (0, 0, [], 200),
        (NOBODY, NOBODY, [], 403),
        (NOBODY, 4711, [], 200),
        (NOBODY, NOBODY, [4712, 4711], 200),
        (NOBODY, NOBODY, [4712], 403),
        (GATE_UID, 4711, [], 403),
    ],
)
def test_who_may_change(
    monkeypatch: pytest.MonkeyPatch, user: int, group: int, further: list[int], code: int
) -> None:
    monkeypatch.setattr(grp, "getgrnam", lambda _: grp.struct_group(("ramnet", "x", 4711, [])))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "control.sock")

        def client() -> str:
            return subprocess.run(
                ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", path,
                 "-d", "x", "http://ramnet/v1/change"],
                capture_output=True, text=True, check=True, user=user, group=group,
                extra_groups=further,
            ).stdout  # fmt: skip

        assert serve(path, client) == str(code)


@pytest.mark.parametrize("size", [0, 1, 5000, control.MAX_BODY])
def test_a_body_arrives_whole(path: Path, size: int) -> None:
    body = b"x" * size
    answer = serve(path, lambda: ask(path, "POST", "/v1/change", body))
    assert answer == {"body": body.decode()}


def test_a_body_that_is_too_long_is_refused(path: Path) -> None:
    with pytest.raises((RamnetError, NotRunningError)):
        serve(path, lambda: ask(path, "POST", "/v1/change", b"x" * (control.MAX_BODY + 1)))


def test_the_commands_wait_for_a_place_among_those_who_wait(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as crowd:
        listener.bind(str(path))
        listener.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                one = crowd.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                one.connect(str(path))
        began = time.monotonic()
        with pytest.raises(NotRunningError, match="does not answer"):
            ask(path, "GET", "/v1/status", time_limit=0.3)
        assert time.monotonic() - began >= 0.3


def test_a_stale_socket_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert serve(path, lambda: ask(path, "GET", "/v1/status")) == {"state": "enforcing"}
    assert not path.exists()


_OK = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", _OK + b"not json", _OK + b"[]"])
def test_somebody_else_on_the_socket_is_not_running(path: Path, answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def both() -> None:
        server = await asyncio.start_unix_server(other, path)
        async with server:
            with pytest.raises(NotRunningError, match="is not ramnet"):
                await asyncio.to_thread(ask, path, "GET", "/v1/status")

    asyncio.run(both())
