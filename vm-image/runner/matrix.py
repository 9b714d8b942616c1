"""``python -m runner.matrix``: kernels and Dockers, one boot each, as a Markdown table."""

import sys
from typing import Final, NamedTuple

from runner import images
from runner.__main__ import run
from runner.scenarios import SCENARIOS, Outcome


class Row(NamedTuple):
    """A suite's root on a kernel."""

    suite: str
    kernel: str


ROWS: Final = (
    Row("bookworm", "bullseye"),
    Row("bookworm", "bookworm"),
    Row("trixie", "trixie"),
    Row("sid", "sid"),
)
_HEAD: Final = "| kernel | Docker | Debian | tier | checks | boot to enforcing | image |"


def table(outcomes: list[tuple[Row, Outcome, str]]) -> str:
    """One line a row; what failed is named."""
    lines = [_HEAD, "|---" * _HEAD.count(" | ") + "|---|"]
    for row, outcome, size in outcomes:
        failed = [name for verdict, name, _ in outcome.lines if verdict == "FAIL"]
        good = sum(verdict == "ok" for verdict, _, _ in outcome.lines)
        checks = f"{good} ok" + (f", failed: {', '.join(failed)}" if failed else "")
        cells = (
            outcome.note("kernel") or row.kernel,
            outcome.note("docker"),
            row.suite,
            outcome.note("tier"),
            checks,
            outcome.note("boot-to-enforcing"),
            size,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """The exit status: 0 if every check of every row was ok."""
    boot = [scenario for scenario in SCENARIOS if scenario.name == "boot"]
    outcomes = []
    for row in ROWS:
        kernel = images.find_kernel(row.kernel)
        (outcome,) = run(row.suite, kernel, boot, [])
        outcomes.append((row, outcome, images.shipped(row.suite, kernel)))
    print(table(outcomes))
    return 0 if all(outcome.passed for _, outcome, _ in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
