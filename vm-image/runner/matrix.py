"""``python -m runner.matrix [BZIMAGE...]``: kernels and Dockers, a boot each, as a Markdown table.

What cannot be had is a row that says why, and then the exit status is 1: it was not tried.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from runner import images
from runner.__main__ import run
from runner.scenarios import SCENARIOS, Outcome

REPOSITORY: Final = images.HERE.parent
WSL: Final = REPOSITORY / "build" / "wsl-kernel-5.10" / "bzImage"


class Row(NamedTuple):
    """A suite's root on a kernel: a suite's name, or the path of a bzImage; ``label`` names it."""

    label: str
    suite: str
    kernel: str
    scenario: str = "boot"


class Result(NamedTuple):
    """What became of a row: checks and the image's size, or the reason why there are none."""

    outcome: Outcome | None
    size: str
    reason: str = ""


ROWS: Final = (
    Row("5.10", "bookworm", "bullseye"),
    Row("5.10 as WSL has it", "bookworm", str(WSL)),
    Row("5.10 as WSL has it, two distributions", "bookworm", str(WSL), "wsl"),
    Row("6.1", "bookworm", "bookworm"),
    Row("6.1, two distributions", "bookworm", "bookworm", "wsl"),
    Row("6.12", "trixie", "trixie"),
    Row("newest", "sid", "sid"),
)
HEAD: Final = (
    "| kernel | Docker | Debian | tier | enforcing after | image | nothing left | checks |"
)


def table(results: list[tuple[Row, Result]]) -> str:
    """One line a row; what failed is named, and what was not tried says why."""
    lines = [HEAD, "|" + "---|" * (HEAD.count("|") - 1)]
    lines += [f"| {' | '.join(_cells(row, result))} |" for row, result in results]
    return "\n".join(lines)


def _cells(row: Row, result: Result) -> tuple[str, ...]:
    outcome = result.outcome
    if outcome is None:
        reason = f"not available: {result.reason}".replace("|", "/")
        return (row.label, "", row.suite, "", "", "", "", reason)
    failed = [name for verdict, name, _ in outcome.lines if verdict == "FAIL"]
    good = [name for verdict, name, _ in outcome.lines if verdict == "ok"]
    return (
        f"{row.label}: {outcome.note('kernel')}",
        outcome.note("docker"),
        row.suite,
        outcome.note("tier"),
        outcome.note("boot-to-enforcing"),
        result.size,
        "yes" if "nothing-left-ever" in good else "no",
        f"{len(good)} ok" + (f", failed: {', '.join(failed)}" if failed else ""),
    )


def status(results: list[tuple[Row, Result]]) -> int:
    """The exit status: 0 only if every row was had and every check of it was ok."""
    return 0 if all(r.outcome is not None and r.outcome.passed for _, r in results) else 1


def _build(*target: str) -> str:
    """Why a target of the Makefile cannot be had; empty where it can."""
    command = ["make", "--no-print-directory", "-f", str(images.HERE / "Makefile"), *target]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, errors="replace")
    print(done.stderr, end="", file=sys.stderr, flush=True)
    if done.returncode == 0:
        return ""
    words = [line for line in done.stderr.splitlines() if line and not line.startswith("make")]
    telling = [line for line in words if line.startswith("E: ")] or words
    return telling[-1][:200] if telling else f"{' '.join(target)} ended with {done.returncode}"


def _targets(row: Row) -> list[str]:
    targets = [str(images.suite_root(row.suite) / "root.cpio")]
    if row.scenario == "wsl":
        targets.append(str(images.distribution(row.suite)))
    if row.kernel == str(WSL):
        return [*targets, "wsl-kernel"]
    if Path(row.kernel).is_file():
        return targets
    return [*targets, str(images.BUILD / f"kernel-{row.kernel}" / "vmlinuz")]


def _play(row: Row) -> Result:
    for target in _targets(row):
        if reason := _build(target):
            return Result(None, "", reason)
    try:
        kernel = images.find_kernel(row.kernel)
    except FileNotFoundError as error:
        return Result(None, "", str(error))
    (outcome,) = run(row.suite, kernel, [s for s in SCENARIOS if s.name == row.scenario], [])
    if outcome.scenario.distribution:
        size = images.distribution(row.suite).stat().st_size
        return Result(outcome, f"{size / 1e6:.0f} MB (tar)")
    return Result(outcome, images.shipped(row.suite, kernel))


def main() -> int:
    """The exit status; further kernels are the arguments."""
    given = [Row(Path(path).parent.name, "bookworm", str(Path(path))) for path in sys.argv[1:]]
    results = [(row, _play(row)) for row in (*ROWS, *given)]
    print(table(results))
    return status(results)


if __name__ == "__main__":
    sys.exit(main())
