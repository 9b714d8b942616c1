"""Stage of the service's own cost: start, memory at rest and with idle connections, `check`."""

from __future__ import annotations

import time

from tests.bench.place import SITE, Place
from tests.bench.settings import Settings
from tests.bench.sizes import talking
from tests.bench.traffic import Values
from tests.bench.ways import Gate, proportional_memory
from tests.lab.processes import LabError


def measure_life(place: Place, settings: Settings, *, crowd: bool) -> Values:
    """Once from start to stop; ``crowd`` opens the idle connections too."""
    gate = Gate(place)
    began = time.perf_counter()
    gate.start()
    try:
        values: Values = {"start_s": time.perf_counter() - began}
        checked = place.ramnet.command("check", SITE.name, "quay.io")
        if checked.code != 1:
            raise LabError(f"ramnet check: {checked.text}")
        values["check_s"] = checked.seconds
        values["idle_mib"] = proportional_memory(gate.pids())
        if crowd:
            values["crowd_mib"] = _crowd(place, gate, settings)
        return values
    finally:
        gate.stop()


def _crowd(place: Place, gate: Gate, settings: Settings) -> float:
    """Memory while so many connections are held."""
    client = place.client("idle", SITE.ipv4, SITE.name, str(settings.idle_connections))
    with talking([*place.vm.enter_command, *client]) as (_, told):
        if told.readline() != "held\n":
            raise LabError("the idle connections could not be opened")
        return proportional_memory(gate.pids())
