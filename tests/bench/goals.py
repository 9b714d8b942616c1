"""What issue 7 asks for, and how each goal is read off the samples."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from tests.bench.samples import Samples


class Goal(NamedTuple):
    """One line of the issue's table.

    Attributes:
        case: in words.
        bound: to be reached, in the unit of ``read``.
        at_least: else at most.
        unit: behind the figure; empty for a ratio.
        read: the figure, None where it was not measured.
    """

    case: str
    bound: float
    at_least: bool
    unit: str
    read: Callable[[Samples], float | None]

    def met(self, figure: float) -> bool:
        """Whether the figure reaches it."""
        return figure >= self.bound if self.at_least else figure <= self.bound


def _of(
    case: str, bound: float, stage: str, metric: str, base: str, *, at_least: bool = True
) -> Goal:
    """ramnet's by that of another way, in one round."""

    def read(samples: Samples) -> float | None:
        ratios = samples.ratios(stage, "ramnet", base, metric)
        return median(ratios) if ratios else None

    return Goal(case, bound, at_least, "", read)


def _is(
    case: str,
    bound: float,
    unit: str,
    where: tuple[str, str, str],
    of: Callable[[list[float]], float] = median,
) -> Goal:
    """At most so much; ``where`` is stage, way and metric."""

    def read(samples: Samples) -> float | None:
        values = samples.of(*where)
        return of(values) if values else None

    return Goal(case, bound, False, unit, read)


def _added(case: str, bound: float, metric: str) -> Goal:
    """Latency over direct, round by round."""

    def read(samples: Samples) -> float | None:
        direct = samples.of("tcp", "direct", "transparent_p50_ms")
        own = samples.of("tcp", "ramnet", metric)
        return median(o - d for o, d in zip(own, direct, strict=False)) if own and direct else None

    return Goal(case, bound, False, "ms", read)


def _growth(case: str, bound: float, metric: str) -> Goal:
    def read(samples: Samples) -> float | None:
        ratios = samples.ratios("size", _MILLION, "1000", metric)
        return median(ratios) if ratios else None

    return Goal(case, bound, False, "", read)


_MILLION = "1000000"
_LARGE = ("size", _MILLION)
_RELOAD, _LIFE = ("reload", _MILLION), ("life", "ramnet")
GOALS: tuple[Goal, ...] = (
    _of("bulk over TLS, 1 stream, of direct", 0.85, "tcp", "bulk_tls_1_mib_s", "direct"),
    _of("bulk over TLS, 8 streams, of direct", 0.85, "tcp", "bulk_tls_8_mib_s", "direct"),
    _of("bulk over plain TCP, of HAProxy", 1.5, "tcp", "bulk_plain_mib_s", "haproxy"),
    _of("new TLS connections a second, of squid", 1.0, "tcp", "new_tls_s", "squid"),
    _of("the same, of HAProxy (as near as it goes)", 1.0, "tcp", "new_tls_s", "haproxy"),
    _added("added latency, transparent, p50", 0.3, "transparent_p50_ms"),
    _added("added latency, explicit, p50", 0.3, "explicit_p50_ms"),
    _of("docker pull, time over direct", 1.05, "pull", "pull_s", "direct", at_least=False),
    _of("DNS cached, of dnsmasq", 1.0, "dns", "dns_cached_s", "dnsmasq"),
    _of("DNS cached, of unbound", 0.9, "dns", "dns_cached_s", "unbound"),
    _of("DNS refused, of dnsmasq", 1.0, "dns", "dns_refused_s", "dnsmasq"),
    _of("DNS refused, of unbound", 0.9, "dns", "dns_refused_s", "unbound"),
    _of("DNS forwarded, of dnsmasq", 0.5, "dns", "dns_forwarded_s", "dnsmasq"),
    _growth("decision with 1,000,000 entries, of 1,000", 1.5, "decide_plain_us"),
    _is("decision with 1,000,000 entries, plain", 3.0, "µs", (*_LARGE, "decide_plain_us")),
    _is("1,000,000 entries from JSON, load", 3.0, "s", (*_LARGE, "load_json_s")),
    _is("1,000,000 entries from JSON, memory", 250.0, "MiB", (*_LARGE, "load_json_mib")),
    _is("policy change to enforced, 1,000,000 entries", 5.0, "s", (*_RELOAD, "reload_s")),
    _is("longest stall meanwhile", 50.0, "ms", (*_RELOAD, "reload_stall_ms"), max),
    _is("answers misjudged meanwhile", 0.0, "", (*_RELOAD, "reload_wrong"), sum),
    _is("idle PSS of all processes", 60.0, "MiB", (*_LIFE, "idle_mib")),
    _is("start to enforcing", 0.5, "s", (*_LIFE, "start_s")),
    _is("ramnet check", 0.2, "s", (*_LIFE, "check_s")),
    _of("container throughput, of direct", 0.97, "container", "container_mbit_s", "direct"),
    _of("container packets, of direct", 0.97, "container", "container_packets_s", "direct"),
)
