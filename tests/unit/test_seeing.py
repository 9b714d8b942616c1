"""``ramnet check -v`` and ``top``: what they say."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ramnet.audit import Event
from ramnet.cli import top
from ramnet.daemon import client
from ramnet.errors import KernelRefusedError
from ramnet.kernel import examination
from tests.unit.test_cli import DOCUMENT, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's part is tried in tests/system."""

    def examine(*_: object) -> None:
        raise KernelRefusedError("reading the rules needs root")

    monkeypatch.setattr(examination, "examine", examine)


@pytest.mark.usefixtures("without_kernel")
def test_every_entry_that_was_tried_is_said(machine: Machine) -> None:
    with machine.policy.open("a") as policy:
        policy.write('[[registry]]\nhost = "*.corp.example:5000"\n')
    result = machine.run("check", "-v", "OLD.corp.example.:443", "nowhere.example")
    assert result.exit_code == 1
    denied, unlisted = result.stdout.split("nowhere.example: ")
    for line in (
        "  name: old.corp.example",
        "  entry: corp.example (domain) allows",
        "  entry: old.corp.example denies",
        "  entry: *.corp.example:5000 allows, but not this port",
        "  sentence: acme has disallowed access to old.corp.example. ",
    ):
        assert line in denied
    assert "registry.corp.example" not in denied
    assert "  entry: none has this name or a part of it" in unlisted
    assert "  way, scope dockerd: reading the rules needs root" in unlisted


@pytest.mark.usefixtures("without_kernel")
def test_check_v_as_json(machine: Machine) -> None:
    (plain,) = json.loads(machine.run("check", "--json", "a.corp.example").stdout)
    (answer,) = json.loads(machine.run("check", "-v", "--json", "a.corp.example").stdout)
    assert answer == plain | {
        "tried": [
            {"entry": "corp.example (domain)", "allows": True, "matches": True, "on_port": True}
        ],
        "sentence": None,
        "roads": [
            {
                "scope": "dockerd",
                "rules": None,
                "steps": [],
                "problem": "reading the rules needs root",
            }
        ],
    }


def _look(at: float, **counters: dict[str, int]) -> top.Look:
    return top.Look(at, {"scopes": [{"name": "dockerd", **counters}]})


@pytest.mark.parametrize(
    ("before", "after", "questions"),
    [
        ({"resolver": {"queries": 10}}, {"resolver": {"queries": 30}}, 10.0),
        ({}, {"resolver": {"queries": 3}}, 1.5),
        ({"resolver": {"queries": 10}}, {"resolver": {"queries": 2}}, 0.0),
        ({"resolver": {"queries": 10}}, {}, 0.0),
    ],
)
def test_rates(before: dict[str, Any], after: dict[str, Any], questions: float) -> None:
    (row,) = top.rates(_look(5.0, **before), _look(7.0, **after))
    assert row["questions_s"] == questions
    assert row["refused_s"] == row["bytes_up_s"] == 0.0


def test_a_scope_that_came_meanwhile_and_the_first_look() -> None:
    (row,) = top.rates(top.Look(0, {"scopes": []}), _look(1, proxy={"accepted": 4, "open": 2}))
    assert (row["connections_s"], row["open"]) == (4.0, 2)
    look = _look(1, proxy={"accepted": 4})
    assert next(top.rates(look, look))["connections_s"] == 0.0


def test_top(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    log = machine.log()
    for number in range(12):
        name = f"{number}.evil\x1b[31m"
        log.write(Event(scope="dockerd", kind="tls", name=name, verdict="refused"))
    log.write(Event(scope="dockerd", kind="tls", name="good.example", verdict="allowed"))
    counts = iter((0, 100, 200))

    def ask(*_: object) -> dict[str, Any]:
        (scope,) = DOCUMENT["scopes"]
        late = Event(scope="dockerd", kind="tls", name="late.example", verdict="would-deny")
        log.write(late)
        return {**DOCUMENT, "scopes": [{**scope, "proxy": {"accepted": next(counts)}}]}

    monkeypatch.setattr(client, "ask", ask)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(time, "monotonic", iter((1.0, 2.0, 3.0)).__next__)
    lines = machine.run("top", "--json", "-n", "3").stdout.splitlines()
    frames = [json.loads(line) for line in lines]
    assert [frame["scopes"][0]["connections_s"] for frame in frames] == [0.0, 100.0, 100.0]
    names = [event["name"] for event in frames[2]["refusals"]]
    assert names[-3:] == ["late.example"] * 3
    assert (len(names), "good.example" in names) == (10, False)

    counts = iter((0,))
    monkeypatch.setattr(time, "monotonic", iter((1.0,)).__next__)
    shown = machine.run("top", "-n", "1").stdout
    assert "enforcing" in shown
    assert "11.evil?[31m" in shown
    assert shown.index("late.example") < shown.index("11.evil")
    assert "\x1b" not in shown


def test_top_without_a_service(machine: Machine) -> None:
    result = machine.run("top", "-n", "1")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "the service does not answer" in result.stderr


def test_top_without_the_right_to_read_the_log(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ramnet.audit.Follower.add", refuse)
    monkeypatch.setattr(client, "ask", lambda *_: DOCUMENT)
    result = machine.run("top", "-n", "1")
    assert result.exit_code == 0
    assert "which is for root" in result.stdout
