"""What is made of samples: a run that goes on, ratios within a round, goals, tables, plots."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from tests.bench.goals import GOALS
from tests.bench.plots import plots
from tests.bench.report import BEGIN, END, machine_readable, markdown, put_into
from tests.bench.samples import Samples, Unit
from tests.bench.settings import Settings
from tests.bench.stages import STAGES, units

RUN: dict[str, object] = {"commit": "c", "settings": {"rounds": 2}}


def measured(path: Path) -> Samples:
    """Two rounds; in the second the machine is half as fast."""
    samples = Samples(path, RUN, afresh=False)
    for number, speed in enumerate((1.0, 0.5)):
        for way, rate in (("direct", 1000.0), ("ramnet", 900.0), ("haproxy", 500.0)):
            samples.add(Unit(number, "tcp", way), {"bulk_tls_1_mib_s": rate * speed})
    samples.add(Unit(0, "reload", "1000000"), {"reload_wrong": [0.0, 1.0]})
    return samples


def test_a_ratio_is_taken_within_a_round(tmp_path: Path) -> None:
    samples = measured(tmp_path / "samples")
    assert samples.ratios("tcp", "ramnet", "direct", "bulk_tls_1_mib_s") == [0.9, 0.9]


def test_a_run_goes_on_where_it_was_and_only_that_run(tmp_path: Path) -> None:
    units_before = measured(tmp_path / "samples").units
    assert Samples(tmp_path / "samples", RUN, afresh=False).units == units_before
    other = RUN | {"commit": "d"}
    assert Samples(tmp_path / "samples", other, afresh=False).units == {}


def test_afresh_forgets(tmp_path: Path) -> None:
    measured(tmp_path / "samples")
    assert Samples(tmp_path / "samples", RUN, afresh=True).units == {}


def test_goals_are_read_and_what_was_not_measured_is_not_claimed(tmp_path: Path) -> None:
    samples = measured(tmp_path / "samples")
    samples.add(Unit(0, "reload", "1000"), {"reload_wrong": [7.0]})  # of a short run: not the goal
    figures = {goal.case: goal.read(samples) for goal in GOALS}
    assert figures["bulk over TLS, 1 stream, of direct"] == 0.9
    assert figures["answers misjudged meanwhile"] == 1.0
    assert figures["docker pull, time over direct"] is None
    text = markdown(samples, RUN, [])
    assert "| bulk over TLS, 1 stream, of direct | at least 0.85  | **0.9** | yes |" in text
    assert "| answers misjudged meanwhile | at most 0  | **1** | **no** |" in text
    assert "| docker pull, time over direct | at most 1.05  | not measured |  |" in text
    machines = json.loads(machine_readable(samples, RUN))
    assert machines["samples"]["tcp"]["ramnet"]["bulk_tls_1_mib_s"] == [900.0, 450.0]


def test_plots_are_well_formed_and_tell_ratios(tmp_path: Path) -> None:
    drawn = plots(measured(tmp_path / "samples"))
    assert list(drawn) == ["tcp.svg"]
    text = " ".join(ElementTree.fromstring(drawn["tcp.svg"]).itertext())
    assert "0.90  ramnet  (675 MiB/s)" in text


def test_the_short_form_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_into(readme, measured(tmp_path / "samples"))
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| | no gate |")
    assert text.endswith(f"{END}\nafter\n")
    assert "| bulk over TLS, 1 stream | 1.00 | 0.90 | 0.50 |  |" in text
    assert "old" not in text


def test_each_round_begins_with_another_way() -> None:
    order = [unit.way for unit in units(Settings(), STAGES) if unit.stage == "tcp"]
    assert order[:8] == [
        *("direct", "ramnet", "haproxy", "squid"),
        *("ramnet", "haproxy", "squid", "direct"),
    ]
