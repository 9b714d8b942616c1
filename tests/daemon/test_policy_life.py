"""A policy document from its file into the gate, and everything that may be wrong with it."""

import os
import time
from pathlib import Path

import pytest

from ramnet.daemon.client import ask

from .conftest import POLICY, Bench

BROKEN = "version = {version}\nregistries = 1\n"


def policy_status(bench: Bench) -> dict[str, object]:
    document: dict[str, object] = ask(bench.control, "GET", "/v1/status")["policy"]
    return document


@pytest.mark.parametrize("entries", [1, 10_000])
def test_a_new_policy_is_in_force_within_a_second(bench: Bench, entries: int) -> None:
    run = bench.start()
    run.wait_for("enforcing")
    listed = "".join(f'[[registry]]\nhost = "h{n}.example"\n' for n in range(entries))
    durations = []
    for version in (2, 3, 4):  # the best of three, since others may use this machine too
        began = time.monotonic()
        bench.write_policy(version, POLICY + listed)
        run.wait_for("is in force")
        assert bench.ask_gate()["version"] == version
        durations.append(time.monotonic() - began)
        assert policy_status(bench)["version"] == version
    assert min(durations) < 1


def test_a_bad_policy_leaves_the_old_one_in_force(bench: Bench) -> None:
    run = bench.start()
    run.wait_for("enforcing")
    bench.write_policy(2, BROKEN)
    said = run.wait_for("the policy in force stays")
    assert f"{bench.policy}" in said
    assert "registries" in said
    assert bench.ask_gate()["version"] == 1
    status = policy_status(bench)
    assert status["version"] == 1
    assert "registries" in str(status["error"])
    bench.write_policy(3)
    run.wait_for("is in force")
    assert bench.ask_gate()["version"] == 3
    assert policy_status(bench)["error"] is None


def test_a_removed_policy_file_leaves_the_policy_in_force(bench: Bench) -> None:
    run = bench.start()
    run.wait_for("enforcing")
    bench.policy.unlink()
    run.wait_for("cannot be read: No such file or directory; the policy in force stays")
    assert bench.ask_gate()["version"] == 1
    bench.write_policy(2)
    run.wait_for("is in force")
    assert bench.ask_gate()["version"] == 2


def test_a_file_for_root_alone_can_be_read(bench: Bench) -> None:
    bench.policy.chmod(0o600)
    bench.start().wait_for("enforcing")
    assert bench.ask_gate()["version"] == 1


def test_the_last_good_policy_is_in_force_after_a_start_with_a_bad_one(bench: Bench) -> None:
    bench.start().wait_for("enforcing")
    bench.runs[0].stop()
    bench.write_policy(2, BROKEN)
    run = bench.start()
    run.wait_for("the last good policy is in force instead")
    run.wait_for("enforcing")
    assert bench.ask_gate()["version"] == 1
    status = policy_status(bench)
    assert status["source"] == str(bench.state / "policy.last-good")
    assert "registries" in str(status["error"])


def test_without_any_policy_everything_is_refused_with_the_reason(bench: Bench) -> None:
    bench.write_policy(1, BROKEN)
    run = bench.start()
    run.wait_for("everything is refused")
    run.wait_for("refusing")
    assert bench.notified.recv(1000).startswith(b"READY=1")
    gate = bench.ask_gate()
    assert "registries" in gate["sentence"]
    status = policy_status(bench)
    assert status["source"] is None
    assert ask(bench.control, "GET", "/v1/status")["state"] == "refusing"
    bench.write_policy(2)
    run.wait_for("enforcing")
    assert bench.ask_gate()["version"] == 2


def test_a_gate_that_starts_anew_has_the_newest_policy(bench: Bench) -> None:
    run = bench.start()
    run.wait_for("enforcing")
    bench.write_policy(2)
    run.wait_for("is in force")
    os.kill(bench.ask_gate()["pid"], 9)
    run.wait_for("refusing")
    run.wait_for("enforcing")
    assert bench.ask_gate()["version"] == 2


def test_without_room_for_the_last_good_copy_the_policy_is_in_force(bench: Bench) -> None:
    (bench.state / "policy.last-good").mkdir(parents=True)  # cannot be replaced by a file
    run = bench.start()
    run.wait_for("cannot keep a copy")
    run.wait_for("enforcing")
    assert bench.ask_gate()["version"] == 1
    assert "cannot keep a copy" in str(policy_status(bench)["last_good_error"])
    assert [p.name for p in bench.state.glob(".*")] == []


def test_what_is_no_file_is_refused(bench: Bench) -> None:
    run = bench.start()
    run.wait_for("enforcing")
    bench.policy.unlink()
    os.mkfifo(bench.policy)
    run.wait_for("is not a regular file; the policy in force stays")
    assert bench.ask_gate()["version"] == 1


def test_a_link_that_is_turned_is_noticed(bench: Bench) -> None:
    first, second = bench.folder / "1.toml", bench.folder / "2.toml"
    first.write_text(POLICY.format(version=1))
    second.write_text(POLICY.format(version=2))
    bench.policy.unlink()
    bench.policy.symlink_to(first)
    run = bench.start()
    run.wait_for("enforcing")
    turned = Path(f"{bench.policy}.new")
    turned.symlink_to(second)
    turned.replace(bench.policy)
    run.wait_for("is in force")
    assert bench.ask_gate()["version"] == 2
