"""What is measured together, in which ways, and what it needs before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bench import life, names, sizes, traffic
from tests.bench.place import Place
from tests.bench.samples import Unit
from tests.bench.settings import Settings
from tests.bench.traffic import Values
from tests.bench.ways import Direct, Dnsmasq, Gate, HAProxy, Squid, Unbound, Way

STAGES = ("tcp", "dns", "pull", "container", "life", "size", "reload")

_TRAFFIC = {
    "tcp": traffic.measure_tcp,
    "pull": traffic.measure_pull,
    "container": traffic.measure_container,
}


class Stages:
    """All stages on one place, each prepared when it is first wanted."""

    def __init__(self, place: Place, settings: Settings) -> None:
        self._place, self._settings = place, settings
        self._prepared: set[str] = set()
        self._ways: dict[str, Way] = {}
        self._questions: names.Questions | None = None

    def measure(self, unit: Unit) -> Values:
        """Measure one unit. Raises LabError."""
        place, settings, first = self._place, self._settings, unit.round == 0
        self._prepare(unit.stage)
        match unit.stage:
            case "size":
                entries = int(unit.way)
                return sizes.measure_size(entries, toml=first or entries < sizes.LARGE)
            case "reload":
                return sizes.measure_reloads(place, settings)
            case "life":
                return life.measure_life(place, settings, crowd=first)
        with self._in_force(unit.way) as way:
            if unit.stage == "dns":
                assert self._questions is not None
                return names.measure_dns(place, way, settings, self._questions)
            return _TRAFFIC[unit.stage](place, way, settings)

    def _prepare(self, stage: str) -> None:
        if stage in self._prepared:
            return
        self._prepared.add(stage)
        match stage:
            case "tcp":
                traffic.prepare_files(self._place, self._settings)
            case "dns":
                self._questions = names.Questions(self._place)
            case "pull":
                traffic.prepare_pull(self._place, self._settings)
            case "container":
                traffic.prepare_container(self._place)

    @contextmanager
    def _in_force(self, name: str) -> Iterator[Way]:
        if name not in self._ways:
            self._ways[name] = _make(name, self._place)
        way = self._ways[name]
        way.start()
        self._place.forget_connections()
        try:
            yield way
        finally:
            way.stop()


def _make(name: str, place: Place) -> Way:
    makers: dict[str, Callable[[Place], Way]] = {
        "direct": Direct,
        "ramnet": Gate,
        "haproxy": HAProxy,
        "squid": Squid,
        "dnsmasq": Dnsmasq,
        "unbound": Unbound,
    }
    return makers[name](place)


def units(settings: Settings, stages: tuple[str, ...]) -> Iterator[Unit]:
    """All units, in the order in which they are measured."""
    ways = {
        "tcp": ("direct", "ramnet", "haproxy", "squid"),
        "dns": ("ramnet", "dnsmasq", "unbound"),
        "pull": ("direct", "ramnet"),
        "container": ("direct", "ramnet"),
        "life": ("ramnet",),
        "size": tuple(map(str, settings.policy_sizes)),
        "reload": (str(settings.policy_sizes[-1]),),
    }
    for number in range(settings.rounds):
        for stage in stages:
            if stage == "reload" and number:
                continue  # one start serves all changes of the policy
            # Each round begins with another way: none is always the first, or after the same.
            turn = number % len(ways[stage])
            for way in (*ways[stage][turn:], *ways[stage][:turn]):
                yield Unit(number, stage, way)
