"""What was measured so far, kept on disk after each unit, so that a run can go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from tests.bench.traffic import Values


class Unit(NamedTuple):
    """What is measured in one go."""

    round: int
    stage: str
    way: str


class Samples:
    """Units and their values, in one file of JSON lines; its first line says for what run."""

    def __init__(self, path: Path, run: dict[str, object], *, afresh: bool) -> None:
        """Take up the file if it is of the same run and ``afresh`` is not wanted."""
        self._path = path
        self.units: dict[Unit, dict[str, list[float]]] = {}
        lines = path.read_text().splitlines() if path.exists() and not afresh else []
        if lines and json.loads(lines[0]) == json.loads(json.dumps(run)):
            for line in lines[1:]:
                entry = json.loads(line)
                self.units[Unit(*entry["unit"])] = entry["values"]
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(run) + "\n")

    def add(self, unit: Unit, values: Values) -> None:
        """Keep what a unit gave."""
        listed = {k: v if isinstance(v, list) else [v] for k, v in values.items()}
        self.units[unit] = listed
        with self._path.open("a") as file:
            file.write(json.dumps({"unit": unit, "values": listed}) + "\n")

    def of(self, stage: str, way: str, metric: str) -> list[float]:
        """All values, round by round."""
        return [
            value
            for unit in sorted(self.units)
            if (unit.stage, unit.way) == (stage, way)
            for value in self.units[unit].get(metric, ())
        ]

    def ratios(self, stage: str, way: str, base: str, metric: str) -> list[float]:
        """Of each round that has both: the first value of ``way`` by that of ``base``."""
        found = []
        for unit, values in sorted(self.units.items()):
            other = self.units.get(unit._replace(way=base), {})
            if (unit.stage, unit.way) == (stage, way) and metric in values and metric in other:
                found.append(values[metric][0] / other[metric][0])
        return found

    def ways(self, stage: str) -> list[str]:
        """Those that were measured in a stage, in order of the first round."""
        return list(dict.fromkeys(unit.way for unit in self.units if unit.stage == stage))
