"""Run it: see the package's docstring.

Exit status: 0 when all was measured, goals met or not; 1 when not; 2 when it cannot run.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench.place import Place
from tests.bench.plots import plots
from tests.bench.report import machine_readable, markdown, put_into
from tests.bench.samples import Samples
from tests.bench.settings import QUICK, Settings
from tests.bench.stages import STAGES, Stages, units
from tests.lab.host import PATH
from tests.lab.lab import missing
from tests.lab.processes import LabError

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results")
_PROGRAMS = ("ab", "dnsperf", "haproxy", "iperf3", "squid")
_VERSIONS = {
    "haproxy": ["haproxy", "-v"],
    "squid": ["squid", "-v"],
    "dnsmasq": ["dnsmasq", "-v"],
    "unbound": ["unbound", "-V"],
    "nginx": ["nginx", "-v"],
    "docker": ["docker", "--version"],
}


def _lacks() -> list[str]:
    return [*missing(), *(name for name in _PROGRAMS if shutil.which(name, path=PATH) is None)]


def _describe(settings: Settings) -> dict[str, object]:
    """The run: machine, programs, commit; all that has to be the same for it to go on."""
    return {
        "commit": _said(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "machine": f"{_processor()}, {_memory()} GiB, Linux {platform.release()}",
        "Python": platform.python_version(),
        "peers": ", ".join(f"{name} {_version(argv)}" for name, argv in _VERSIONS.items()),
        "settings": settings._asdict(),
    }


def _said(argv: list[str]) -> str:
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": PATH})
    return (ran.stdout + ran.stderr).strip()


def _version(argv: list[str]) -> str:
    words = _said(argv).partition("\n")[0].replace("/", " ").replace(",", "").split()
    return next((word for word in words if word[0].isdigit()), "?")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()


def _memory() -> int:
    first = Path("/proc/meminfo").read_text().split()[1]
    return round(int(first) / (1 << 20))


def _measure(samples: Samples, settings: Settings, stages: tuple[str, ...], say: Console) -> None:
    left = [unit for unit in units(settings, stages) if unit not in samples.units]
    done = sum(1 for _ in units(settings, stages)) - len(left)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Place() as place, Progress(*columns, console=say) as progress:
        task = progress.add_task("bench", total=done + len(left), completed=done)
        at = Stages(place, settings)
        for unit in left:
            said = f"round {unit.round + 1}/{settings.rounds}  {unit.stage}: {unit.way}"
            progress.update(task, description=f"{said:<34}")
            began = time.monotonic()
            samples.add(unit, at.measure(unit))
            progress.advance(task)
            if not say.is_terminal:
                say.print(f"{said:<34} {time.monotonic() - began:5.1f} s")


def _write(directory: Path, samples: Samples, run: dict[str, object]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    drawn = plots(samples)
    for name, text in drawn.items():
        (directory / name).write_text(text)
    (directory / "results.md").write_text(markdown(samples, run, list(drawn)))
    (directory / "results.json").write_text(machine_readable(samples, run))


def main(arguments: list[str]) -> int:
    """Measure what is left, and write the result."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", action="append", choices=STAGES, help="of the stages")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--afresh", action="store_true", help="do not go on with what is there")
    parser.add_argument("--results", type=Path, help="the folder to write")
    chosen = parser.parse_args(arguments)
    if lacks := _lacks():
        print(f"the bench needs {', '.join(lacks)}", file=sys.stderr)
        return 2
    settings = QUICK if chosen.quick else Settings()
    if chosen.rounds:
        settings = settings._replace(rounds=chosen.rounds)
    stages = tuple(stage for stage in STAGES if stage in (chosen.only or STAGES))
    whole = stages == STAGES and settings == Settings()
    results = chosen.results or (RESULTS if whole else ROOT / "build/bench/results")
    run = _describe(settings)
    say = Console(highlight=False)
    began = time.monotonic()
    samples = Samples(ROOT / "build/bench/samples.jsonl", run, afresh=chosen.afresh)
    try:
        _measure(samples, settings, stages, say)
    except (LabError, OSError) as error:
        say.print(f"the bench cannot go on (what was measured is kept): {error}", markup=False)
        return 1
    _write(results, samples, run)
    if whole:
        put_into(ROOT / "README.md", samples)
    say.print((results / "results.md").read_text(), markup=False, soft_wrap=True)
    say.print(f"{results}: written after {time.monotonic() - began:.0f} s", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
