"""The matrix of kernels and Dockers: what was not tried is no success."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

VM_IMAGE = Path(__file__).parents[2] / "vm-image"


@pytest.fixture
def matrix(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(VM_IMAGE))
    yield importlib.import_module("runner.matrix")
    for name in [name for name in sys.modules if name.split(".")[0] == "runner"]:
        del sys.modules[name]


def _outcome(matrix: Any, *lines: tuple[str, str, str]) -> Any:
    return matrix.Outcome(matrix.SCENARIOS[0], list(lines))


def test_what_cannot_be_had_says_so_and_is_no_success(matrix: Any) -> None:
    good = matrix.Result(_outcome(matrix, ("ok", "nothing-left-ever", "")), "1 MB")
    missing = matrix.Result(None, "", "the mirror has it no more")
    results = [(matrix.ROWS[0], good), (matrix.ROWS[1], missing)]
    last = matrix.table(results).splitlines()[-1]
    assert "not available: the mirror has it no more" in last
    assert " ok" not in last
    assert "yes" not in last
    assert matrix.status(results[:1]) == 0
    assert matrix.status(results) == 1


def test_a_check_that_never_ran_is_not_that_nothing_left(matrix: Any) -> None:
    outcome = _outcome(matrix, ("ok", "enforcing", ""), ("FAIL", "came-to-an-end", "off"))
    results = [(matrix.ROWS[0], matrix.Result(outcome, "1 MB"))]
    assert matrix.table(results).endswith("| no | 1 ok, failed: came-to-an-end |")
    assert matrix.status(results) == 1


def test_what_cannot_be_built_is_a_reason(matrix: Any) -> None:
    assert "no-such-target" in matrix._build("no-such-target")
    assert matrix._build("--version") == ""


def test_the_readme_has_every_row(matrix: Any) -> None:
    lines = (VM_IMAGE / "README.md").read_text().splitlines()
    start = lines.index(matrix.HEAD)
    for row, line in zip(matrix.ROWS, lines[start + 2 :], strict=False):
        assert line.startswith(f"| {row.label}"), line
        assert f"| {row.suite} |" in line
