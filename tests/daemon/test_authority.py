"""The boot-time CA on disk and in the trust store."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.daemon import authority
from ramnet.errors import RamnetError
from ramnet.ruleset import GATE_UID


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for update-ca-certificates that writes down how it was called."""
    program = tmp_path / "bin" / "update-ca-certificates"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "called $*" >> {tmp_path}/calls\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(b"certificate")
    return path


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files change hands")


def test_install_and_uninstall_do_nothing_twice(
    tmp_path: Path, tool: Path, certificate: Path
) -> None:
    store = tmp_path / "share" / "ramnet.crt"
    assert authority.install(certificate, store)
    assert not authority.install(certificate, store)
    assert store.read_bytes() == b"certificate"
    assert store.stat().st_mode & 0o777 == 0o644
    certificate.write_bytes(b"of another boot")
    assert authority.install(certificate, store)
    assert store.read_bytes() == b"of another boot"
    assert authority.uninstall(store)
    assert not authority.uninstall(store)
    assert not store.exists()
    assert calls(tmp_path) == ["called ", "called ", "called --fresh"]


def test_a_store_tool_that_fails_is_told(tmp_path: Path, tool: Path, certificate: Path) -> None:
    tool.write_text("#!/bin/sh\necho no space >&2\nexit 1\n")
    with pytest.raises(RamnetError, match="no space"):
        authority.install(certificate, tmp_path / "ramnet.crt")


def test_a_store_tool_that_is_missing_is_told(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RamnetError, match="is not installed"):
        authority.install(certificate, tmp_path / "ramnet.crt")


@pytest.fixture
def in_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_half_a_pair_is_made_anew(in_memory: Path) -> None:
    made = iter([(b"c1", b"k1"), (b"c2", b"k2")])
    first = authority.ensure(in_memory, lambda _: next(made))
    assert authority.ensure(in_memory, lambda _: next(made)) == first
    first.key.unlink()
    authority.ensure(in_memory, lambda _: next(made))
    assert (first.certificate.read_bytes(), first.key.read_bytes()) == (b"c2", b"k2")
    authority.remove(in_memory)
    assert list(first.key.parent.iterdir()) == []


def test_file_systems_are_told_apart() -> None:
    assert authority.file_system(Path("/dev/shm")) == "tmpfs"
    assert authority.file_system(Path("/proc")) == "proc"


def test_a_directory_of_the_gates_group_gives_the_key_to_the_gate_without_chown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As init makes it (tmpfiles.d), for a service without CAP_CHOWN."""

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        place = Path(folder, "ca")
        place.mkdir()
        os.chown(place, 0, GATE_UID)
        place.chmod(0o2755)
        monkeypatch.setattr(os, "fchown", refused)
        made = authority.ensure(Path(folder), lambda _: (b"certificate", b"key"))
        found = made.key.stat()
    assert (found.st_uid, found.st_gid) == (0, GATE_UID)
    assert found.st_mode & 0o7777 == 0o440
