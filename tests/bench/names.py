"""Stage over DNS: dnsperf at saturation, and latency at 1,000 questions a second."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.bench.place import FAST, FAST_ZONE, LAST_CPU, SLOW_ZONE, Place, pinned
from tests.bench.settings import Settings
from tests.bench.traffic import Values
from tests.bench.ways import Way, cpu_seconds, pin
from tests.lab.processes import LabError

_FEW: Final = 1000
_MANY: Final = 300_000
"""More than anybody answers in one load, so none is asked twice."""
_OUTSTANDING: Final = 200
_OUTSTANDING_SLOW: Final = 400
"""With 20 ms upstream these are at most 20,000 a second, for everybody."""
_RATE: Final = 1000


class Questions:
    """Files of questions for dnsperf."""

    def __init__(self, place: Place) -> None:
        self._directory = place.vm.directory
        numbers = range(_MANY)
        self.known = self._write("known", (f"k{n}.{FAST_ZONE}" for n in range(_FEW)))
        self.refused = self._write("refused", (f"r{n}.refused.example" for n in range(_FEW)))
        self.refused_new = self._write("new", (f"r{n}.other.example" for n in numbers))
        self.fast = self._write("fast", (f"f{n}.{FAST_ZONE}" for n in numbers))
        self.slow = self._write("slow", (f"s{n}.{SLOW_ZONE}" for n in numbers))

    def _write(self, name: str, names: Iterable[str]) -> Path:
        path = self._directory / f"questions-{name}"
        path.write_text("".join(f"{name} A\n" for name in names))
        return path


def measure_dns(place: Place, way: Way, settings: Settings, questions: Questions) -> Values:
    """Answers a second, by kind, and latency; server and dnsperf on a processor each."""
    if LAST_CPU:
        pin(way.pids(), 0)
    for warm in (questions.known, questions.refused):
        _dnsperf(place, warm, "-n", "1")

    values: Values = {}
    lost: list[float] = []
    for metric, file, outstanding in (
        ("dns_cached", questions.known, _OUTSTANDING),
        ("dns_refused", questions.refused, _OUTSTANDING),
        ("dns_refused_new", questions.refused_new, _OUTSTANDING),
        ("dns_forwarded", questions.fast, _OUTSTANDING),
        ("dns_forwarded_20ms", questions.slow, _OUTSTANDING_SLOW),
    ):
        before = cpu_seconds(way.pids())
        load = ["-l", str(settings.seconds), "-q", str(outstanding), "-c", "4", "-t", "2"]
        count, rate, without = _answered(_dnsperf(place, file, *load), file)
        lost.append(without)
        values[f"{metric}_s"] = rate
        values[f"{metric}_cpu_us"] = (cpu_seconds(way.pids()) - before) / count * 1e6
    values["dns_lost_percent"] = max(lost)
    return values | _latency(place, settings, questions.known)


def _dnsperf(place: Place, file: Path, *options: str) -> str:
    argv = ["dnsperf", "-s", FAST, "-d", str(file), "-T", "1", *options]
    return place.vm.run(pinned(LAST_CPU, *argv), seconds=60).check().out


def _answered(said: str, file: Path) -> tuple[int, float, float]:
    """Answers, how many a second, and percent of the questions that got none."""
    codes = re.search(r"Response codes:[ \t]+(.+)", said)
    rate = re.search(r"Queries per second:\s+([\d.]+)", said)
    lost = re.search(r"Queries lost:\s+(\d+)", said)
    sent = re.search(r"Queries sent:\s+(\d+)", said)
    if not (codes and rate and lost and sent):
        raise LabError(f"dnsperf: {said[-1500:]}")
    if re.sub(r"NOERROR \d+ \(100\.00%\)", "", codes[1]).strip(" ,"):
        raise LabError(f"{file.name}: not all were answered well: {codes[1]}")
    without = int(lost[1])
    return int(sent[1]) - without, float(rate[1]), without / int(sent[1]) * 100


def _latency(place: Place, settings: Settings, file: Path) -> Values:
    load = ["-l", str(settings.seconds), "-Q", str(_RATE), "-q", "50", "-v"]
    said = _dnsperf(place, file, *load)
    lines = (line.split() for line in said.splitlines() if line.startswith("> NOERROR "))
    took = sorted(float(words[-1]) * 1000 for words in lines)
    if len(took) < _RATE // 2:
        raise LabError(f"dnsperf told {len(took)} latencies: {said[-1000:]}")
    return {"dns_p50_ms": took[len(took) // 2], "dns_p99_ms": took[len(took) * 99 // 100]}
