"""Who reads the policy for the caveats, and what is said where it cannot be read."""

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from ramnet.caveats.facts import PolicyFacts, Unseen
from ramnet.config import Config, Scope, Trust
from ramnet.daemon import policy_facts
from ramnet.daemon.policy_facts import COMMAND, Answer, look
from ramnet.ruleset import GATE_UID
from ramnet.trust.bundle import BUNDLE, Bundle, pack
from tests.lab.processes import wait_until

POLICY = b'presets = ["gcr"]\n[[registry]]\nhost = "a.example"\n'
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the child changes its user")


def config(folder: Path, policy: str = "") -> Config:
    return Config(
        policy=policy or str(folder / "policy.toml"),
        scopes=[Scope(name="dockerd")],
        state_dir=str(folder),
        trust=Trust(root=str(folder / "root.json")),
    )


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@needs_root
def test_nobody_reads_it_for_root() -> None:
    """It has no privileges before the first byte is there."""
    command = [*COMMAND, "p.toml", "file"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        who = "\t".join([str(GATE_UID)] * 4)
        wait_until("another user", lambda: status_of(child.pid)["Uid"] == who)
        assert int(status_of(child.pid)["CapEff"], 16) == 0
        out, _ = child.communicate(POLICY)
    facts = msgspec.json.decode(out, type=Answer).facts
    assert facts is not None
    assert "a.example" in facts.allowed  # type: ignore[operator]


@needs_root
def test_root_itself_reads_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.toml").write_bytes(POLICY)
    (tmp_path / "policy.toml").chmod(0o600)
    in_place = policy_facts.answer(lambda: POLICY, str(tmp_path / "policy.toml"), bundle=False)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(policy_facts, "read_document", refuse)
    monkeypatch.setattr(policy_facts, "unpack", refuse)
    found = look(config(tmp_path))
    assert isinstance(found, PolicyFacts)
    assert found == in_place.facts
    assert any("storage.googleapis.com" in words for words in found.broad)  # type: ignore[union-attr]
    kept = Bundle("https://policy.example", 0.0, {}, {"policies/base.json": b'{"enabled": false}'})
    (tmp_path / BUNDLE).write_bytes(pack(kept))
    signed = look(config(tmp_path, "https://policy.example"))
    assert isinstance(signed, PolicyFacts)
    assert (signed.source, signed.enabled) == ("https://policy.example", False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"registry = 1", "policy.toml:1: registry"),
        (b"\xff", "policy.toml"),
        (b'presets = ["no-such"]', "no-such"),
    ],
)
def test_why_it_cannot_be_read(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "policy.toml").write_bytes(content)
    found = look(config(tmp_path))
    assert isinstance(found, Unseen)
    assert reason in found.reason
    assert "ended with" not in found.reason


def test_what_is_no_file_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    assert look(config(tmp_path)) == Unseen(f"{path}: cannot be read: No such file or directory")
    never = look(config(tmp_path, "https://policy.example"))
    assert isinstance(never, Unseen)
    assert never.reason.startswith("nothing has been fetched from https://policy.example yet")
    os.mkfifo(path)
    assert look(config(tmp_path)) == Unseen(f"{path}: is not a regular file")
    (tmp_path / BUNDLE).write_bytes(b"what is this")
    damaged = look(config(tmp_path, "https://policy.example"))
    assert isinstance(damaged, Unseen)
    assert "damaged" in damaged.reason


@needs_root
def test_a_reader_that_breaks_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.toml").write_bytes(POLICY)
    for program, words in (
        ("import os; os.kill(os.getpid(), 9)", "its reader ended with status -9"),
        ("print('[')", "what its reader says makes no sense"),
    ):
        monkeypatch.setattr(policy_facts, "COMMAND", (COMMAND[0], "-c", program))
        found = look(config(tmp_path))
        assert isinstance(found, Unseen)
        assert words in found.reason
