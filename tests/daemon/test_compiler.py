"""The child that reads policy documents: confined, limited, and its every end a sentence."""

import asyncio
import os
import sys

import pytest

from ramnet.daemon import compiler, memfd
from ramnet.daemon.compiler import compile_document
from ramnet.errors import PolicyError
from ramnet.policy import Policy
from ramnet.ruleset import GATE_UID

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the child changes its user")

CONFINED = """
import os, resource
from ramnet.daemon import compile as child
def tell():
    names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE")
    limits = [resource.getrlimit(getattr(resource, name))[1] for name in names]
    print(os.getresuid(), os.getgroups(), limits)
    return 0
child.compile_stdin = tell
child.main()
"""


def compiled(text: str, *, time_limit: float = 60) -> bytes:
    """What the compiler makes of a document."""
    document = memfd.create("document")
    os.write(document, text.encode())
    memfd.seal(document)
    try:
        blob = asyncio.run(compile_document(document, "p.toml", time_limit=time_limit))
    finally:
        os.close(document)
    with os.fdopen(blob, "rb") as file:
        return file.read()


def use(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(compiler, "_COMMAND", (sys.executable, "-c", program))


def test_a_document_becomes_a_policy() -> None:
    policy = Policy(compiled('version = 3\n[[registry]]\nhost = "ghcr.io"\n'))
    assert policy.version == 3
    assert policy.decide("ghcr.io").allowed


def test_a_refusal_is_the_compilers_own_words() -> None:
    with pytest.raises(PolicyError, match=r"^p\.toml:1: versoin: "):
        compiled("versoin = 1\n")


def test_the_child_has_neither_privilege_nor_unlimited_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, CONFINED)
    uids = (GATE_UID, GATE_UID, GATE_UID)
    assert compiled("").decode().strip() == f"{uids} [] {[4 << 30, 120, 1 << 30, 0]}"


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended with signal 9"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("import sys; sys.exit('first\\nsecond\\x1b[31m')", r"^second\?\[31m$"),
        ("1/0", "^ZeroDivisionError: division by zero$"),
        ("", "said nothing"),
        ("import sys; sys.stderr.write('x' * 10**6); sys.exit(1)", "^x{2000}$"),
        ("import signal; signal.pause()", r"took more than 0\.3 s"),
    ],
)
def test_every_other_end_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, program: str, says: str
) -> None:
    use(monkeypatch, program)
    with pytest.raises(PolicyError, match=says):
        compiled("version = 1\n", time_limit=0.3 if "pause" in program else 60)


def test_a_compiler_that_cannot_start_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_COMMAND", ("/nonexistent",))
    with pytest.raises(PolicyError, match="cannot be started: No such file"):
        compiled("version = 1\n")


def test_no_descriptor_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled("version = 1\n")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    compiled("version = 1\n")
    use(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(PolicyError):
        compiled("")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
