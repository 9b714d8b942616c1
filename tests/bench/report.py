"""The result: Markdown for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from tests.bench.goals import GOALS
from tests.bench.samples import Samples

BEGIN: Final = "<!-- bench: written by `make bench` -->"
END: Final = "<!-- bench: end -->"


class Row(NamedTuple):
    """One metric of several ways, beside one of them."""

    title: str
    stage: str
    metric: str
    unit: str
    base: str


ROWS = (
    Row("bulk over TLS, 1 stream", "tcp", "bulk_tls_1_mib_s", "MiB/s", "direct"),
    Row("bulk over TLS, 8 streams", "tcp", "bulk_tls_8_mib_s", "MiB/s", "direct"),
    Row("bulk over TLS, 64 streams", "tcp", "bulk_tls_64_mib_s", "MiB/s", "direct"),
    Row("bulk over plain HTTP, 1 stream", "tcp", "bulk_plain_mib_s", "MiB/s", "direct"),
    Row("processor, a GiB over TLS, 1 stream", "tcp", "cpu_s_gib_1", "s", "haproxy"),
    Row("processor, a GiB over TLS, 8 streams", "tcp", "cpu_s_gib_8", "s", "haproxy"),
    Row("processor, a GiB over TLS, 64 streams", "tcp", "cpu_s_gib_64", "s", "haproxy"),
    Row("new TLS connections, saturated", "tcp", "new_tls_s", "/s", "direct"),
    Row("processor, a new connection", "tcp", "cpu_us_connection", "µs", "haproxy"),
    Row("first byte of the server, p50", "tcp", "transparent_p50_ms", "ms", "direct"),
    Row("first byte of the server, p99", "tcp", "transparent_p99_ms", "ms", "direct"),
    Row("the same by CONNECT, p50", "tcp", "explicit_p50_ms", "ms", "squid"),
    Row("the same by CONNECT, p99", "tcp", "explicit_p99_ms", "ms", "squid"),
    Row("memory after all this (PSS)", "tcp", "loaded_mib", "MiB", "squid"),
    Row("docker pull, 20 layers", "pull", "pull_s", "s", "direct"),
    Row("DNS cached", "dns", "dns_cached_s", "/s", "dnsmasq"),
    Row("DNS refused, names seen before", "dns", "dns_refused_s", "/s", "dnsmasq"),
    Row("DNS refused, each name new", "dns", "dns_refused_new_s", "/s", "dnsmasq"),
    Row("DNS forwarded, upstream in 0 ms", "dns", "dns_forwarded_s", "/s", "dnsmasq"),
    Row("DNS forwarded, upstream in 20 ms", "dns", "dns_forwarded_20ms_s", "/s", "dnsmasq"),
    Row("processor, a cached answer", "dns", "dns_cached_cpu_us", "µs", "dnsmasq"),
    Row("processor, a forwarded answer", "dns", "dns_forwarded_cpu_us", "µs", "dnsmasq"),
    Row("questions lost in the worst of these", "dns", "dns_lost_percent", "%", ""),
    Row("DNS cached at 1,000/s, p50", "dns", "dns_p50_ms", "ms", "dnsmasq"),
    Row("DNS cached at 1,000/s, p99", "dns", "dns_p99_ms", "ms", "dnsmasq"),
    Row("container to internet, TCP", "container", "container_mbit_s", "Mbit/s", "direct"),
    Row("container, UDP of 64 octets", "container", "container_packets_s", "/s", "direct"),
)  # fmt: skip

_SIZES = (
    ("load_json_s", "load, JSON (s)"),
    ("load_json_mib", "memory for it (MiB)"),
    ("load_toml_s", "load, TOML (s)"),
    ("load_toml_mib", "memory for it (MiB)"),
    ("blob_mib", "compiled (MiB)"),
    ("decide_plain_us", "decide: host (µs)"),
    ("decide_domain_us", "domain (µs)"),
    ("decide_wildcard_us", "in-label wildcard (µs)"),
    ("decide_miss_us", "no match (µs)"),
)
_ALONE = (
    ("life", "start_s", "start to enforcing", "s"),
    ("life", "check_s", "ramnet check", "s"),
    ("life", "idle_mib", "PSS at rest", "MiB"),
    ("life", "crowd_mib", "PSS with idle connections (`idle_connections` in results.json)", "MiB"),
    ("reload", "reload_s", "largest policy: change to enforced", "s"),
    ("reload", "reload_stall_ms", "longest stall of a prober meanwhile", "ms"),
    ("reload", "reload_wrong", "answers misjudged meanwhile", ""),
    ("reload", "large_policy_mib", "PSS with the largest policy", "MiB"),
)


def figure(value: float) -> str:
    """Three digits that count."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(samples: Samples, run: dict[str, object], plots: list[str]) -> str:
    """The whole result; ``plots`` are files beside it."""
    lines = ["# What `make bench` measured", "", *_about(run), "", "## Goals", ""]
    lines += ["| case | goal | measured | met |", "|---|---|---|---|", *_goals(samples), ""]
    for plot in plots:
        lines += [f"![{plot.removesuffix('.svg')}]({plot})", ""]
    lines += ["## Side by side", "", "The ratio first (median of the rounds' ratios), then the"]
    lines += ["figure (median). The way with ratio 1 is what the others are measured by.", ""]
    lines += [*_tables(samples), "## Size of the policy", "", *_sizes(samples), ""]
    lines += ["## ramnet alone", "", "| | median | least | most |", "|---|---|---|---|"]
    lines += [*_alone(samples), ""]
    return "\n".join(lines)


def _about(run: dict[str, object]) -> Iterator[str]:
    for key, value in run.items():
        if key != "settings":
            yield f"- {key}: {value}"


def _goals(samples: Samples) -> Iterator[str]:
    for goal in GOALS:
        measured = goal.read(samples)
        word = "at least" if goal.at_least else "at most"
        said = "not measured" if measured is None else f"**{figure(measured)}** {goal.unit}".strip()
        met = "" if measured is None else "yes" if goal.met(measured) else "**no**"
        yield f"| {goal.case} | {word} {figure(goal.bound)} {goal.unit} | {said} | {met} |"


def _tables(samples: Samples) -> Iterator[str]:
    for stage in dict.fromkeys(row.stage for row in ROWS):
        ways = [way for way in _ORDER if way in samples.ways(stage)]
        if not ways:
            continue
        yield f"| {stage} | {' | '.join(ways)} |"
        yield "|---|" + "---|" * len(ways)
        for row in ROWS:
            if row.stage == stage:
                cells = " | ".join(_cell(samples, row, way) for way in ways)
                yield f"| {row.title} ({row.unit}) | {cells} |"
        yield ""


_ORDER = ("direct", "ramnet", "haproxy", "squid", "dnsmasq", "unbound")


def _cell(samples: Samples, row: Row, way: str) -> str:
    values = samples.of(row.stage, way, row.metric)
    if not values:
        return ""
    ratios = samples.ratios(row.stage, way, row.base, row.metric)
    ratio = f"**{median(ratios):.2f}** " if ratios else ""
    return f"{ratio}({figure(median(values))})"


def _sizes(samples: Samples) -> Iterator[str]:
    sizes = sorted(samples.ways("size"), key=int)
    yield "| entries | " + " | ".join(f"{int(size):,}" for size in sizes) + " |"
    yield "|---|" + "---|" * len(sizes)
    for metric, title in _SIZES:
        values = (samples.of("size", size, metric) for size in sizes)
        cells = " | ".join(figure(median(found)) if found else "" for found in values)
        yield f"| {title} | {cells} |"


def _alone(samples: Samples) -> Iterator[str]:
    for stage, metric, title, unit in _ALONE:
        if values := samples.of(stage, "ramnet", metric):
            cells = " | ".join(figure(of(values)) for of in (median, min, max))
            yield f"| {title} {f'({unit})' if unit else ''} | {cells} |"


_SHORT = (
    (
        ("direct", "ramnet", "haproxy", "squid"),
        ("bulk_tls_1_mib_s", "bulk_tls_8_mib_s", "bulk_plain_mib_s", "new_tls_s",
         "transparent_p50_ms"),
    ),
    (("direct", "ramnet"), ("pull_s", "container_mbit_s")),
    (("ramnet", "dnsmasq", "unbound"), ("dns_cached_s", "dns_refused_s", "dns_forwarded_s")),
)  # fmt: skip


def short(samples: Samples) -> str:
    """For the README: ratios alone."""
    lines = []
    for ways, metrics in _SHORT:
        rows = [row for metric in metrics for row in ROWS if row.metric == metric]
        lines += ["", f"| | {' | '.join(map(_called, ways))} |", "|---|" + "---|" * len(ways)]
        for row in rows:
            ratios = (samples.ratios(row.stage, way, row.base, row.metric) for way in ways)
            cells = " | ".join(f"{median(found):.2f}" if found else "" for found in ratios)
            lines.append(f"| {row.title} | {cells} |")
    return "\n".join(lines[1:])


def _called(way: str) -> str:
    return {"direct": "no gate", "haproxy": "HAProxy"}.get(way, way)


def put_into(readme: Path, samples: Samples) -> None:
    """Replace what stands between the two marks."""
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        readme.write_text(f"{before}{begin}\n{short(samples)}\n{end}{after}")


def machine_readable(samples: Samples, run: dict[str, object]) -> str:
    """Everything that was measured, and the goals."""
    goals = [
        {"case": g.case, "bound": g.bound, "at_least": g.at_least, "unit": g.unit,
         "measured": (measured := g.read(samples)), "met": measured is not None and g.met(measured)}
        for g in GOALS
    ]  # fmt: skip
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for unit, found in sorted(samples.units.items()):
        metrics = values.setdefault(unit.stage, {}).setdefault(unit.way, {})
        for metric, numbers in found.items():
            metrics.setdefault(metric, []).extend(numbers)
    return json.dumps({"run": run, "goals": goals, "samples": values}, indent=1) + "\n"
