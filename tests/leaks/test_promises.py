"""The README promises what tests show, and nothing else."""

from __future__ import annotations

import ast

import pytest

from tests.leaks.promises import PROMISES, ROOT, replaced


def test_the_readme_has_the_table() -> None:
    text = (ROOT / "README.md").read_text()
    assert replaced(text) == text, "run `python -m tests.leaks.promises`"


@pytest.mark.parametrize(
    "test", sorted({test for each in PROMISES for test in (*each.tests, *each.scoped)})
)
def test_what_shows_a_promise_exists(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_is_shown() -> None:
    assert all(promise.tests for promise in PROMISES)
