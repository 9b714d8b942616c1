"""Bars as SVG: one plot for each stage, each row the ways' ratios to one of them."""

from __future__ import annotations

from statistics import median
from typing import Final
from xml.sax.saxutils import escape

from tests.bench.report import ROWS, Row, figure
from tests.bench.samples import Samples

_COLOURS: Final = {
    "direct": "#8c8c8c",
    "ramnet": "#1f6fb2",
    "haproxy": "#d08770",
    "squid": "#a3be8c",
    "dnsmasq": "#d08770",
    "unbound": "#a3be8c",
}
_PLOTS: Final = {
    "tcp": "Over TCP: throughput and new connections, beside no gate (longer is better)",
    "dns": "DNS: answers a second, beside dnsmasq (longer is better)",
    "pull": "docker pull of 20 layers: time beside no gate (shorter is better)",
    "container": "Containers' own traffic beside no gate (longer is better)",
}
_RATES: Final = ("MiB/s", "/s", "Mbit/s")
_LEFT, _WIDE, _BAR, _GAP = 270, 420, 14, 12


def plots(samples: Samples) -> dict[str, str]:
    """SVG texts by file name, of the stages that were measured."""
    drawn = {}
    for stage, title in _PLOTS.items():
        rows = [row for row in ROWS if row.stage == stage and (stage == "pull" or _rate(row))]
        if bars := [(row, found) for row in rows if (found := _ratios(samples, row))]:
            drawn[f"{stage}.svg"] = _draw(title, bars)
    return drawn


def _rate(row: Row) -> bool:
    return row.unit in _RATES and row.base in ("direct", "dnsmasq")


def _ratios(samples: Samples, row: Row) -> dict[str, tuple[float, float]]:
    """Of each way the ratio and the figure itself."""
    found = {}
    for way in _COLOURS:
        values = samples.of(row.stage, way, row.metric)
        ratios = samples.ratios(row.stage, way, row.base, row.metric)
        if values and ratios:
            found[way] = median(ratios), median(values)
    return found


def _draw(title: str, bars: list[tuple[Row, dict[str, tuple[float, float]]]]) -> str:
    most = max(ratio for _, found in bars for ratio, _ in found.values())
    scale = _WIDE / max(most, 1.0)
    parts, y = [_text(10, 20, title, bold=True)], 40
    top = y
    for row, found in bars:
        parts.append(_text(_LEFT - 8, y + _BAR, f"{row.title}", end=True))
        for way, (ratio, value) in found.items():
            width = ratio * scale
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}"'
                f' fill="{_COLOURS[way]}"/>'
            )
            said = f"{ratio:.2f}  {way}  ({figure(value)} {row.unit})"
            parts.append(_text(_LEFT + width + 5, y + _BAR - 3, said))
            y += _BAR + 2
        y += _GAP
    one = _LEFT + scale
    parts.append(f'<path d="M{one:.1f} {top - 6}V{y - _GAP}" stroke="#444" stroke-dasharray="3"/>')
    size = f'width="{_LEFT + _WIDE + 260}" height="{y + 4}"'
    style = 'font-family="sans-serif" font-size="12"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, said: str, *, end: bool = False, bold: bool = False) -> str:
    more = ' text-anchor="end"' if end else ""
    more += ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(said)}</text>'
