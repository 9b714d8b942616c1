"""The audit log: complete, rotated, and harmless when the disk is full."""

import contextlib
import json
import os
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from ramnet.audit import Event, EventLog, Follower, read_events


def event(name: str, *, time: str = "2026-01-01T00:00:00.000Z") -> Event:
    return Event(time=time, scope="dockerd", kind="dns", name=name, verdict="refused")


def names(*paths: Path) -> list[str | None]:
    return [found.name for found in read_events(*paths)]


def test_a_line_holds_every_field(tmp_path: Path) -> None:
    EventLog(tmp_path / "a.jsonl").write(event("h.example"))
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {
        "time": "2026-01-01T00:00:00.000Z",
        "scope": "dockerd",
        "kind": "dns",
        "name": "h.example",
        "port": None,
        "verdict": "refused",
        "entry": None,
        "original_destination": None,
        "bytes_up": 0,
        "bytes_down": 0,
        "reason": None,
        "container": None,
        "redirect": None,
    }


def test_logs_are_merged_by_time(tmp_path: Path) -> None:
    first, second = EventLog(tmp_path / "a.jsonl"), EventLog(tmp_path / "b.jsonl")
    first.write(event("1", time="2026-01-01T00:00:00.001Z"))
    second.write(event("2", time="2026-01-01T00:00:00.002Z"))
    first.write(event("3", time="2026-01-01T00:00:00.003Z"))
    assert names(first.path, second.path, tmp_path / "absent.jsonl") == ["1", "2", "3"]


def test_rotation_keeps_the_newest_files_in_order(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "a.jsonl", max_bytes=500, keep=2)
    for number in range(20):
        log.write(event(str(number)))
    kept = names(log.path)
    assert kept == [str(number) for number in range(20 - len(kept), 20)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.1", "a.jsonl.2"]
    assert all(p.stat().st_size <= 500 for p in tmp_path.iterdir())


def test_a_full_disk_loses_events_and_says_so_afterwards(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "missing" / "a.jsonl")
    log.write(event("lost"))
    log.write(event("lost"))
    assert log.lost == 2
    log.path.parent.mkdir()
    log.write(event("kept"))
    gap, kept = read_events(log.path)
    assert gap.reason == "2 events were lost: they could not be written"
    assert kept.name == "kept"


def test_a_short_write_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path / "a.jsonl")
    log.write(event("whole"))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        log.write(event("torn"))
    log.write(event("after"))
    assert names(log.path) == ["whole", None, "after"]
    assert log.lost == 1


def test_a_name_that_is_no_text_is_counted_not_raised(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "a.jsonl")
    log.write(event("\ud800"))
    assert log.lost == 1


def test_neither_writer_nor_reader_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious\n")
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "target")
    log = EventLog(tmp_path / "a.jsonl")
    log.write(event("h.example"))
    assert log.lost == 1
    assert (tmp_path / "target").read_text() == "precious\n"
    assert names(log.path) == []


def test_a_named_pipe_in_place_of_a_log_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    log = EventLog(tmp_path / "a.jsonl")
    log.write(event("h.example"))
    assert log.lost == 1
    assert names(log.path) == []


def test_following_goes_on_across_a_rotation_and_finds_new_logs(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "a.jsonl", max_bytes=500)
    log.write(event("before"))
    follower = Follower([log.path])
    assert follower.poll() == []
    for number in range(4):  # two to a file: it rotates twice
        log.write(event(str(number)))
    follower.add([tmp_path / "b.jsonl"])
    EventLog(tmp_path / "b.jsonl").write(event("other"))
    assert sorted(str(found.name) for found in follower.poll()) == ["0", "1", "2", "3", "other"]
    log.path.write_bytes(log.path.read_bytes() + b'{"time": "2026')
    assert follower.poll() == []  # half a line waits for its other half
    follower.close()


def _deep(path: Path) -> None:
    path.write_text('{"x":' + "[" * 100_000 + "\n")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def _without_end(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(64 << 20)


@pytest.mark.parametrize("make", [_deep, _socket, _without_end, os.mkfifo, Path.mkdir])
def test_a_log_that_somebody_else_has_put_there(
    tmp_path: Path, make: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that was taken over may leave anything for root to read."""
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    make(Path("a.jsonl"))
    EventLog("b.jsonl").write(event("h.example"))
    tracemalloc.start()
    try:
        assert names(Path("a.jsonl"), Path("b.jsonl")) == ["h.example"]
        with contextlib.closing(Follower()) as follower:
            follower.add([Path("a.jsonl")])
            assert follower.poll() == []
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
