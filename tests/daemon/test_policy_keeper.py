"""When a document is read: never half written, never torn, and only for a change."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ramnet.daemon import memfd, policy_keeper
from ramnet.daemon.policy_keeper import PolicyKeeper


class Script:
    """A keeper whose every pause does the next thing of a script to the file."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "policy.toml"
        self.file.write_text("first")
        self.compiled: list[str] = []
        self.pauses: list[Callable[[], object]] = []
        self.keeper = PolicyKeeper(
            self.file,
            folder,
            compile_=self._compile,
            install=self._install,
            tell=lambda _: None,
        )
        monkeypatch.setattr("ramnet.daemon.policy_keeper.asyncio.sleep", self._pause)
        asyncio.run(self.keeper.start())

    def look(self, *pauses: Callable[[], object]) -> list[str]:
        """What was compiled in one look, during which the script was played."""
        self.pauses, before = list(pauses), len(self.compiled)
        asyncio.run(self.keeper.look())
        assert self.pauses == []
        return self.compiled[before:]

    def write(self, text: str) -> Callable[[], object]:
        return lambda: self.file.write_text(text)

    async def _pause(self, _: float) -> None:
        if self.pauses:
            self.pauses.pop(0)()

    async def _compile(self, document: int, source: str) -> int:
        self.compiled.append(os.pread(document, 100, 0).decode())
        blob = memfd.create("blob")
        memfd.seal(blob)
        return blob

    async def _install(self, blob: int | None, reason: str) -> None:
        assert blob is not None


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(tmp_path, monkeypatch)


def test_nothing_is_read_without_a_change(script: Script) -> None:
    assert script.look() == []


def test_a_file_that_is_being_written_is_read_when_it_is_whole(script: Script) -> None:
    script.file.write_text("se")
    assert script.look(script.write("sec"), script.write("second")) == ["second"]
    assert script.look() == []


def test_a_file_that_never_settles_is_read_in_the_end(script: Script) -> None:
    script.file.write_text("0")
    pauses = [script.write("x" * n) for n in range(1, policy_keeper.MAX_SETTLING + 1)]
    assert script.look(*pauses) == ["x" * policy_keeper.MAX_SETTLING]


def test_a_change_of_rights_alone_is_worth_a_look(script: Script) -> None:
    script.file.chmod(0o600)
    assert script.look() == ["first"]


def test_a_file_that_changes_while_it_is_read_is_read_again(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = iter(["torn, and longer", "whole"])
    copy = memfd.sealed_copy

    def copy_then_change(source: int, limit: int) -> int | None:
        copied = copy(source, limit)
        if (text := next(changes, None)) is not None:
            script.file.write_text(text)
        return copied

    monkeypatch.setattr(memfd, "sealed_copy", copy_then_change)
    script.file.write_text("second")
    assert script.look() == ["whole"]


def test_a_document_beyond_the_limit_is_refused(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_keeper, "MAX_DOCUMENT", 10)
    script.file.write_text("0123456789")
    assert script.look() == ["0123456789"]
    script.file.write_text("0123456789a")
    assert script.look() == []
    assert "larger than 10 bytes" in str(script.keeper.error)


def test_the_last_good_copy_is_replaced_whole_and_private(script: Script) -> None:
    script.file.write_text("second")
    script.look()
    kept = script.file.parent / policy_keeper.LAST_GOOD
    assert kept.read_text() == "second"
    assert kept.stat().st_mode & 0o777 == 0o600
