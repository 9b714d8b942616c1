"""Errors that people meet: one line each, what is at fault, what to do, the contract's exit code.

Every row runs the real program, in a process of its own.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from ramnet import entry, errors

NOBODY: Final = 65534
POLICY: Final = 'version = 7\norganization = "acme"\n[[registry]]\nhost = "good.example"\n'
_WITHOUT_NETFILTER: Final = """
import ctypes, os, struct, sys
# seccomp(2): socket(AF_NETLINK, *, NETLINK_NETFILTER) says what a kernel without it says.
load, jump, give = 0x20, 0x15, 0x06
low = 16
program = [
    (load, 0, 0, 0), (jump, 0, 5, NUMBER),
    (load, 0, 0, low), (jump, 0, 3, 16),
    (load, 0, 0, low + 16), (jump, 0, 1, 12),
    (give, 0, 0, 0x00050000 | 93), (give, 0, 0, 0x7FFF0000),
]
code = b"".join(struct.pack("HBBI", *line) for line in program)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(program), code)), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
_SOCKET_CALLS: Final = {"x86_64": 41, "aarch64": 198}
_NOT_LINUX: Final = (
    "import sys; sys.platform = 'darwin'; from ramnet.entry import main; sys.exit(main())"
)
_NO_LIBRARY: Final = """
import ctypes, sys
from ramnet.kernel import nft
nft._LIBRARY = "libnftables.so.0"
from ramnet.entry import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Row:
    """What is wrong, what is run, and what is said of it.

    Attributes:
        wrong: done before; takes the folder.
        through: what runs the program, instead of itself.
        says: parts of the last line; {folder} stands for the folder.
        lines: `run` says besides that the scope could not be held either.
    """

    name: str
    command: str
    code: int
    says: tuple[str, ...]
    wrong: Callable[[Path], object] = lambda folder: None
    user: int | None = None
    environment: tuple[tuple[str, str], ...] = ()
    through: tuple[str, ...] = ()
    lines: int = 1


def _config(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "r.toml").write_text(text.replace("{folder}", str(folder)))


def _scope(netns: str) -> Callable[[Path], object]:
    return _config(
        f'policy = "{{folder}}/p.toml"\nstate_dir = "{{folder}}/state"\n'
        f'control_socket = "{{folder}}/run/control.sock"\n[[scope]]\nname = "dockerd"\n'
        f'netns = "{netns}"\n'
    )


def _policy(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "p.toml").write_text(text)


def _python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def _netfilter() -> tuple[str, ...]:
    number = _SOCKET_CALLS.get(os.uname().machine, 41)
    return (*_python(_WITHOUT_NETFILTER.replace("NUMBER", str(number))), RAMNET)


RAMNET: Final = str(Path(sys.executable).with_name("ramnet"))
RUNNING = ("the service does not answer on {folder}/run/control.sock", "start it with: ramnet run")
AS_ROOT = ("needs root", "try again with sudo, or as root")
_STUMBLES: Final = """
import sys
from ramnet.kernel import hold
hold.{function} = lambda *_: 1 / 0
from ramnet.entry import main
sys.exit(main())
"""
_BROKEN: Final = """
import sys
sys.modules["ramnet.{module}"] = None
from ramnet.entry import main
sys.exit(main())
"""
_FULL: Final = ("sh", "-c", 'exec "$0" "$@" >/dev/full', RAMNET)
_CLOSED: Final = ("sh", "-c", 'exec "$0" "$@" <&-', RAMNET)
_DEEP: Final = "policy = " + "[" * 5000
NO_ROOM: Final = ("ramnet: the output cannot be written: No space left on device",)


def _private(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).chmod(0o600)


def _log_for_root(folder: Path) -> None:
    log = folder / "state" / "events" / "dockerd.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    log.parent.chmod(0o700)


def _authority(folder: Path, data: bytes) -> None:
    (folder / "run" / "ca").mkdir(parents=True, exist_ok=True)
    (folder / "run" / "ca" / "ca.pem").write_bytes(data)


def _marked(folder: Path) -> None:
    """As Notepad saves it: with a byte order mark."""
    text = (folder / "r.toml").read_text().replace("\n", "\r\n")
    (folder / "r.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())


ROWS: Final = [
    Row("nothing is wrong", "check good.example", 0, ()),
    Row("a byte order mark", "check good.example", 0, (), wrong=_marked),
    Row("a byte order mark: hold", "hold", 0, (), wrong=_marked, user=0),
    Row("deep nesting", "check good.example", 2, ("{folder}/r.toml: it is nested too deeply",),
        wrong=_config(_DEEP)),
    Row("deep nesting: hold", "hold", 2,
        ("{folder}/r.toml: it is nested too deeply", "own network namespace is held"),
        wrong=_config(_DEEP), user=0),
    Row("a NUL", "check good.example", 2, ("{folder}/r.toml: policy: ", "is not an absolute path"),
        wrong=_config('policy = "/a\\u0000"\n[[scope]]\nname = "a"\n')),
    Row("a NUL: hold", "hold", 2, ("a [[scope]] cannot be read", "own network namespace is held"),
        wrong=_scope("/a\\u0000"), user=0),
    Row("a NUL in the socket's path: hold", "hold", 0, (), user=0,
        wrong=_config('control_socket = "/a\\u0000"\n[[scope]]\nname = "a"\n')),
    Row("no text", "check good.example", 2, ("{folder}/r.toml: line 2 is not UTF-8 text",),
        wrong=lambda folder: (folder / "r.toml").write_bytes(b"\n\xff")),
    Row("no end to it", "check good.example --config /dev/zero", 2,
        ("/dev/zero: larger than 16 MiB",)),
    Row("a private configuration", "check good.example", 4,
        ("cannot read {folder}/r.toml: Permission denied", "as root"),
        wrong=_private("r.toml"), user=NOBODY),
    Row("a private policy", "check good.example", 4,
        ("{folder}/p.toml: cannot be read: Permission denied", "as root"),
        wrong=_private("p.toml"), user=NOBODY),
    *(
        Row(f"a log for root: {command}", command, 4,
            ("dockerd.jsonl: ", "the audit log is for root"), wrong=_log_for_root, user=NOBODY)
        for command in ("events", "events -f", "suggest")
    ),
    Row("a policy nested deeply", "policy validate {folder}/p.toml", 1, (),
        wrong=_policy(_DEEP)),
    Row("an image instead of its registry", "check quay.io/org/image:tag", 2,
        ("'quay.io/org/image:tag' is a URL or an image", "such as quay.io")),
    Row("a URL instead of its host", "check https://quay.io/v2/", 2, ("such as quay.io",)),
    Row("days beyond the calendar", "policy keygen /nowhere/keys --days 9999999", 2, ("--days",)),
    Row("days that are no number", "policy publish p --keys k --to s --timestamp-days nan", 2,
        ("--timestamp-days nan",)),
    Row("no keys", "policy publish {folder}/p.toml --keys /nowhere --to /nowhere", 1,
        ("/nowhere/root.json: is not there; ramnet policy keygen FOLDER makes it",)),
    Row("no place for keys", "policy keygen /proc/keys/here", 1, ("/proc/keys/here: Not a dir",)),
    Row("no room for the answer", "check good.example", 1, NO_ROOM, through=_FULL),
    Row("no room for the help", "check --help", 1, NO_ROOM, through=_FULL),
    Row("nothing to read from", "sign-in --token-file -", 3, RUNNING, through=_CLOSED),
    Row("a host is refused", "check bad.example", 1, ()),
    *(
        Row(f"the service does not run: {command}", command, 3, RUNNING)
        for command in ("status", "refresh", "sign-out", "log-level", "log-level debug", "top -n 1")
    ),
    *(
        Row(f"no privilege: {command}", command, 4, AS_ROOT, user=NOBODY)
        for command in ("run", "hold", "down", "verify", "rules", "ca install", "ca remove")
    ),
    Row("no configuration", "check x.example", 2,
        ("cannot read {folder}/r.toml: No such file or directory", "--config"),
        wrong=lambda folder: (folder / "r.toml").unlink()),
    Row("a mistyped key", "status", 2,
        ("{folder}/r.toml: scope[0].containrs: unknown key; did you mean 'containers'?",),
        wrong=_config('policy = "/p"\n[[scope]]\nname = "a"\ncontainrs = []\n')),
    Row("a value that cannot be", "run", 2, ("{folder}/r.toml: scope[0]: netns 'host' is none of",),
        wrong=_scope("host")),
    Row("TOML that cannot be read", "run", 2, ("{folder}/r.toml: ", "line 1"),
        wrong=_config("policy\n")),
    Row("no policy", "check x.example", 1,
        ("{folder}/p.toml: cannot be read: No such file or directory",),
        wrong=lambda folder: (folder / "p.toml").unlink()),
    Row("a policy with a mistyped key", "check x.example", 1,
        ("{folder}/p.toml:3: registry[0].hots: unknown key; did you mean 'host'?",),
        wrong=_policy("organization = 'a'\n[[registry]]\nhots = 'a'\n")),
    Row("what is no host", "check a..b", 2, ("a..b",)),
    Row("an option that there is not", "status --jsn", 2, ("No such option",)),
    Row("a mistyped option of exec", "exec --scop dockerd -- true", 2,
        ("No such option '--scop'",)),
    Row("a command that there is not", "stats", 2, ("No such command",)),
    Row("no token file", "sign-in --token-file /nonexistent", 2, ("/nonexistent",)),
    Row("a scope that there is not", "events --scope wsl", 2, ("there is no scope wsl", "dockerd")),
    Row("the namespace is gone", "hold", 1,
        ("scope dockerd is not held: cannot open /run/netns/gone: No such file", "make it first"),
        wrong=_scope("/run/netns/gone"), user=0),
    Row("the namespace's program is gone", "hold", 1,
        ("cannot read pid file {folder}/pid: No such file", "is its program running?"),
        wrong=lambda folder: _scope(f"pidfile:{folder}/pid")(folder), user=0),
    Row("a kernel with no tier", "rules", 4,
        ("it lacks nat_redirect", "nor route them to the gate: it lacks transparent",
         "load the modules for either, or take another kernel"),
        user=0, environment=(("RAMNET_WITHOUT", "nat_redirect,transparent"),)),
    *(
        Row(f"no nf_tables in the kernel: {command}", command, 4,
            ("this kernel has no nf_tables (Protocol not supported)", "modprobe nf_tables"),
            user=0, through=_netfilter(), lines=2 if command == "run" else 1)
        for command in ("run", "hold", "rules", "verify")
    ),
    Row("no libnftables", "rules", 4,
        ("libnftables cannot be loaded", "install the package libnftables1"),
        user=0, through=_python(_NO_LIBRARY)),
    *(
        Row(f"not Linux: {command}", command, 4, (errors.NOT_LINUX,), through=_python(_NOT_LINUX))
        for command in ("run", "hold", "down", "verify", "exec -- true")
    ),
    Row("not Linux, and no need of it", "check good.example", 0, (), through=_python(_NOT_LINUX)),
    *(
        Row(f"what nobody foresaw: {function}", "hold", 4, ("ZeroDivisionError",), user=0,
            through=_python(_STUMBLES.format(function=function)))
        for function in ("_look_around", "_service_runs")
    ),
    *(
        Row(f"a broken installation: {command}", command, 4, ("cannot be loaded", "install it"),
            user=0, through=_python(_BROKEN.format(module=module)))
        for command, module in (("hold", "kernel.hold"), ("status", "cli"))
    ),
    Row("into a scope without rules", "exec -- true", 3,
        ("scope dockerd has no rules in force: is ramnet running?",), user=0),
    *(
        Row(f"an authority that is none: {data!r}", "ca show", 1,
            ("is no certificate; make a new",), wrong=partial(_authority, data=data))
        for data in (b"rubbish", b"\xff")
    ),
    Row("no authority yet", "ca show", 1, ("there is no CA at {folder}/run/ca", "makes it"),
        wrong=lambda folder: shutil.rmtree(folder / "run", ignore_errors=True)),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Readable for anybody, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="ramnet-errors-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def run(row: Row, folder: Path) -> subprocess.CompletedProcess[str]:
    _scope("self")(folder)
    _policy(POLICY)(folder)
    for file in folder.glob("*.toml"):  # the row before may have made it private
        file.chmod(0o644)
    row.wrong(folder)
    name, *rest = row.command.replace("{folder}", str(folder)).split()
    config = ["--config", str(folder / "r.toml")]
    command = [*(row.through or (RAMNET,)), name, *config, *rest]
    if name in ("ca", "policy"):
        command = [*(row.through or (RAMNET,)), name, *rest, *config]
    if os.geteuid() == 0:
        command = ["unshare", "--net", *command]  # whatever it does, it does it there
    if row.user:
        command = ["setpriv", f"--reuid={row.user}", f"--regid={row.user}", "--clear-groups",
                   *command[2:]]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, text=True, timeout=50, cwd="/",
        env={**os.environ, **dict(row.environment)},
    )  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_one_sentence_and_its_exit_code(folder: Path, row: Row) -> None:
    if row.user is not None and os.geteuid() != 0:
        pytest.skip("needs root")
    done = run(row, folder)
    assert done.returncode == row.code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    usage = done.stderr.startswith("Usage: ")  # click's own: how to call it, then the one line
    lines = done.stderr.splitlines()[3 if usage else 0 :]
    assert len(lines) == (row.lines if row.says else 0), done.stderr
    for part in row.says:
        assert part.replace("{folder}", str(folder)) in lines[-1]
        assert usage or lines[-1].startswith("ramnet: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_hold_goes_on_to_the_next_scope_whatever_becomes_of_its_words(folder: Path) -> None:
    """Nobody reads them any more (a full disk, a console that is gone)."""
    (folder / "r.toml").write_text(
        f'control_socket = "{folder}/run/control.sock"\n[[scope]]\nname = "a"\nnetns = "/gone"\n'
        '[[scope]]\nname = "b"\n'
    )
    script = f"{RAMNET} hold --config {folder}/r.toml 2>/dev/full; echo $?; nft list tables"
    command = ["unshare", "--net", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.stdout.splitlines() == ["1", "table inet ramnet"]


def test_the_packages_program_without_its_library_ends_with_4() -> None:
    """With 1, as a traceback does, the boot script would let dockerd start."""
    program = Path(__file__).parents[2] / "vm-image" / "package" / "ramnet"
    command = [sys.executable, "-I", "-S", str(program), "hold"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr


def test_an_end_by_the_keyboard_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> str | None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "hold_config", interrupted)
    assert entry.main() == 1
    assert capsys.readouterr().err == "ramnet: aborted\n"


def test_every_exit_code_of_the_contract_is_here() -> None:
    assert {row.code for row in ROWS} == {0, 1, 2, 3, 4}


def test_every_error_has_a_code_of_the_contract() -> None:
    def below(kind: type[errors.RamnetError]) -> Iterator[type[errors.RamnetError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    codes = {kind.__name__: kind.exit_code for kind in below(errors.RamnetError)}
    assert set(codes.values()) <= {1, 2, 3, 4}
    assert codes["NotRunningError"] == 3
    assert codes["KernelRefusedError"] == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_without_docker_what_hangs_on_it_is_unknown_and_says_what_to_do(folder: Path) -> None:
    """Where no process is another's: nothing there is a dockerd."""
    alone = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", RAMNET)
    done = run(Row("", "caveats --fail-on high", 1, (), through=alone), folder)
    assert done.returncode == 1
    assert (
        "not known: no dockerd of root's is in view; start it, or ask where it runs" in done.stdout
    )
    assert done.stderr == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_taken_port_is_a_warning_that_names_it(folder: Path) -> None:
    """The port of the explicit proxy is anybody's, and nobody may keep the rules away by it."""
    from ramnet.kernel.listeners import open_explicit

    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        opened, (problem,) = open_explicit([listen])
    assert not opened
    assert problem == (
        f"proxy.explicit {listen!r} cannot be bound (Address already in use); the rules stand "
        "without it, restart ramnet when it is free"
    )
