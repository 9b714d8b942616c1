"""``python -m runner``: boot the image of one suite on one kernel; exit 0 if every check was ok."""

import argparse
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from runner import images, lab
from runner.machine import Boot, choose_accelerator
from runner.scenarios import SCENARIOS, Outcome, Scenario, play

_TELLING: Final = re.compile(
    r"ramnet(-\w+)?(\.service|\[|:)|ordering cycle|[Ff]ailed|panic|Traceback|level=(error|fatal)"
)
_EXCERPT: Final = 80


def _say(line: str) -> None:
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-vm", description=__doc__)
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--kernel", help="a suite, or the path of a bzImage; default: the suite")
    parser.add_argument("--scenario", action="append", choices=[s.name for s in SCENARIOS])
    parser.add_argument(
        "--extra", action="append", type=Path, default=[], help="a directory laid over the root"
    )
    parser.add_argument("--cut", type=float, help="seconds until power is cut; default: any")
    return parser.parse_args()


def run(
    suite: str,
    kernel: images.Kernel,
    wanted: list[Scenario],
    extra: list[Path],
    cut: float | None = None,
) -> list[Outcome]:
    """Every scenario, one machine at a time."""
    with tempfile.TemporaryDirectory(prefix="vm-image-") as scratch:
        directory = Path(scratch)
        lab.furnish(directory / "lab")
        built = images.suite_root(suite)
        archives = [built / "root.cpio", built / "tests.cpio"]
        archives += [kernel.modules] if kernel.modules else []
        archives.append(images.pack(directory / "lab", directory / "lab.cpio"))
        archives += [images.pack(p, directory / f"extra-{n}.cpio") for n, p in enumerate(extra)]
        initrd = images.join(archives, directory / "initrd")
        base = Boot(kernel.image, initrd, "", None, directory)
        accelerator = choose_accelerator(base)
        _say(f"# {suite}, kernel {kernel.name}, {accelerator.partition(',')[0]}; "
             f"image: {images.shipped(suite, kernel)}")  # fmt: skip
        return [_one(scenario, _prepare(scenario, suite, base), accelerator, cut)
                for scenario in wanted]  # fmt: skip


def _prepare(scenario: Scenario, suite: str, base: Boot) -> Boot:
    """What this machine has besides: a disk, further files."""
    boot = base._replace(line=f"vm.scenario={scenario.name} {scenario.line}")
    if scenario.lay is not None:
        over = base.directory / scenario.name
        scenario.lay(over)
        packed = images.pack(over, over.with_suffix(".cpio"))
        initrd = images.join([base.initrd, packed], over.with_suffix(".initrd"))
        boot = boot._replace(initrd=initrd)
    if scenario.distribution:
        root = images.unpack(images.distribution(suite), base.directory / "distribution")
        lab.furnish_distribution(root, base.directory / "lab")
        disk = images.make_disk(base.directory / "disk", scenario.disk, root)
        shutil.rmtree(root)
        return boot._replace(disk=disk)
    if scenario.disk:
        return boot._replace(disk=images.make_disk(base.directory / "disk", scenario.disk))
    return boot


def _one(scenario: Scenario, boot: Boot, accelerator: str, cut: float | None) -> Outcome:
    _say(f"# {scenario.name}")
    began = time.monotonic()
    outcome = play(scenario, boot, accelerator, _say, cut)
    if not outcome.passed:
        _explain(outcome, images.BUILD / "logs" / f"{boot.kernel.parent.name}-{scenario.name}.log")
    ending = "passed" if outcome.passed else "FAILED"
    if outcome.passed and outcome.note("skipped"):
        ending = "not played"
    _say(f"# {scenario.name}: {ending} "
         f"in {time.monotonic() - began:.0f} s")  # fmt: skip
    return outcome


def _explain(outcome: Outcome, log: Path) -> None:
    """The whole console into a file, and of it what is likely to tell."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(outcome.console)
    telling = [line for line in outcome.console.splitlines() if _TELLING.search(line)]
    for line in telling[:_EXCERPT]:
        _say(f"    {line[:300]}")
    _say(f"# the console, {len(telling)} such lines and all others: {log}")


def main() -> int:
    """The exit status."""
    options = _arguments()
    names = options.scenario or [s.name for s in SCENARIOS if not s.asked_for]
    wanted = [s for s in SCENARIOS if s.name in names]
    for scenario in [s for s in wanted if s.suites and options.suite not in s.suites]:
        _say(f"# {scenario.name}: not played on {options.suite}")
        wanted.remove(scenario)
    kernel = images.find_kernel(options.kernel or options.suite)
    outcomes = run(options.suite, kernel, wanted, options.extra, options.cut)
    return 0 if outcomes and all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
