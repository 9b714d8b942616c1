"""``python -m ramnet.policy``: a whole blob, or one line and exit 1."""

import subprocess
import sys

import pytest

from ramnet.policy import Policy


def run(data: bytes, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "ramnet.policy", *args], input=data, capture_output=True, check=False
    )


def test_a_document_becomes_a_blob() -> None:
    done = run(b"version = 3\n[[registry]]\nhost = 'a.example'", "policy.toml")
    assert (done.returncode, done.stderr) == (0, b"")
    policy = Policy(done.stdout)
    policy.verify()
    assert policy.version == 3
    assert policy.decide("a.example").allowed


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"version = 'x'", b"p: it: "),
        (b"x = " + b"[" * 10**6, b"nested too deeply"),
        (b'{"registry": ' + b"[" * 10**6, b""),
        (b"\xff\xfe", b"UTF-8"),
        (b"[[registry]]\nhost = 'a\\u000ab'", b"p.toml:2: registry[0].host: "),
    ],
)
def test_a_bad_document_gives_one_line_and_no_blob(data: bytes, line: bytes) -> None:
    done = run(data, "p.toml")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"p.toml")
    assert line.replace(b"p: it: ", b"p.toml:1: version: Expected int, got str") in done.stderr


def test_without_a_name_the_document_is_stdin() -> None:
    assert run(b"x").stderr.startswith(b"<stdin>:1: ")
