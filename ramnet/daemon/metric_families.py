"""What ``ramnet status`` knows, as metrics of Prometheus; for the exporter's process alone.

Names and units: https://prometheus.io/docs/practices/naming/ (base units, ``_total`` for what only
grows). The labels' values are scopes of ``ramnet.toml`` and words that stand here, so that nothing
that comes from a network or a gate makes new series.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from ramnet.audit import VERDICTS
from ramnet.daemon.metric_snapshot import Caveat, Latency, PolicyStatus, ScopeStatus, Snapshot

_STATES: Final = ("starting", "enforcing", "auditing", "refusing")


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Every metric there is."""
    status = snapshot.status
    yield GaugeMetricFamily("ramnet_up", "1 while the service answers.", 1)
    info = GaugeMetricFamily("ramnet_build_info", "Which ramnet this is.", labels=["version"])
    info.add_metric([status.version], 1)
    yield info
    yield GaugeMetricFamily(
        "ramnet_uptime_seconds", "Since the service was started.", status.supervisor.uptime_s
    )
    yield GaugeMetricFamily(
        "ramnet_warnings", "Sentences that ramnet status has to say.", len(status.warnings)
    )
    states = GaugeMetricFamily("ramnet_state", "1 for the state it is in.", labels=["state"])
    for state in _STATES:
        states.add_metric([state], state == status.state)
    yield states
    yield from _policy(status.policy)
    if snapshot.caveats is not None:
        yield _caveats(snapshot.caveats)
    yield from _scopes(status.scopes)
    yield from _resolvers(status.scopes)
    yield from _proxies(status.scopes)


def _policy(policy: PolicyStatus) -> Iterator[Metric]:
    for name, text, value in (
        ("version", "Version of the policy in force.", policy.version),
        ("entries", "Entries of the policy in force.", policy.entries),
        ("age_seconds", "Since the policy came into force.", policy.age_s),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"ramnet_policy_{name}", text, value)
    yield GaugeMetricFamily(
        "ramnet_policy_enforced", "0 where it says enforce = false.", policy.enforced
    )
    yield GaugeMetricFamily(
        "ramnet_policy_restricts", "0 where nothing is restricted.", policy.restricts
    )


def _caveats(caveats: Iterable[Caveat]) -> Metric:
    found = list(caveats)
    family = GaugeMetricFamily(
        "ramnet_caveats",
        "Caveats, as the service itself found them last.",
        labels=["state", "severity"],
    )
    for state in ("active", "covered", "absent", "unknown"):
        for severity in ("high", "medium", "low"):
            many = sum((each.state, each.severity) == (state, severity) for each in found)
            family.add_metric([state, severity], many)
    return family


_Sample = tuple[tuple[str, ...], float]


def _counter(name: str, text: str, label: str, samples: Iterable[_Sample]) -> Metric:
    """One that has a label beside the scope, if any; a sample is the labels' values and it."""
    labels = ["scope", label] if label else ["scope"]
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _gauge(name: str, text: str, samples: Iterable[_Sample]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["scope"])
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(name: str, text: str, told: Iterable[tuple[str, Latency | None]]) -> Metric:
    """Buckets hold what is below them too, as Prometheus has it."""
    family = HistogramMetricFamily(name, text, labels=["scope"])
    for scope, latency in told:
        if latency is not None:
            bounds = [*map(str, latency.bounds_s), "+Inf"]
            buckets = list(zip(bounds, accumulate(latency.counts), strict=True))
            family.add_metric([scope], buckets, latency.sum_s)
    return family


def _scopes(scopes: list[ScopeStatus]) -> Iterator[Metric]:
    ready = (((s.name,), float(s.gate_ready)) for s in scopes)
    yield _gauge("ramnet_gate_ready", "1 while the scope's gate serves.", ready)
    intact = (((s.name,), float(s.rules.intact)) for s in scopes)
    yield _gauge("ramnet_rules_intact", "1 while the kernel's rules stand as planned.", intact)
    restarts = (((s.name,), s.restarts) for s in scopes)
    yield _counter("ramnet_gate_restarts", "Gates that were replaced.", "", restarts)
    restores = (((s.name,), s.rules.restores) for s in scopes)
    words = "Times that rules were set again which another program had changed."
    yield _counter("ramnet_rules_restores", words, "", restores)
    lost = (((s.name,), s.events_lost) for s in scopes)
    yield _counter("ramnet_events_lost", "Events that could not be written.", "", lost)
    refused = (
        ((s.name, kind), (s.rules.refused_packets or {}).get(kind, 0))
        for s in scopes
        for kind in ("tcp", "udp", "other")
    )
    words = "Packets that the kernel's rules refused."
    yield _counter("ramnet_packets_refused", words, "protocol", refused)


def _resolvers(scopes: list[ScopeStatus]) -> Iterator[Metric]:
    told = [(s.name, s.resolver) for s in scopes if s.resolver.latency is not None]
    decisions = (((n, v), r.decisions.get(v, 0)) for n, r in told for v in VERDICTS)
    words = "Questions that were decided, by verdict."
    yield _counter("ramnet_dns_decisions", words, "verdict", decisions)
    for key, words in (
        ("queries", "Questions."),
        ("cache_hits", "Questions answered from the cache."),
        ("malformed", "Messages that are no question."),
        ("forwarded", "Questions sent to an upstream server."),
        ("failures", "Questions to which no upstream had an answer."),
    ):
        samples = (((n,), float(getattr(r, key))) for n, r in told)
        yield _counter(f"ramnet_dns_{key}", words, "", samples)
    for key, name, words in (
        ("answers", "cache_entries", "Answers in the cache."),
        ("answer_octets", "cache_bytes", "Size of the answers in the cache."),
        ("in_flight", "lookups_in_flight", "Questions that wait for an upstream."),
    ):
        samples = (((n,), float(getattr(r, key))) for n, r in told)
        yield _gauge(f"ramnet_dns_{name}", words, samples)
    latencies = ((n, r.latency) for n, r in told)
    yield _histogram("ramnet_dns_latency_seconds", "From question to answer.", latencies)


def _proxies(scopes: list[ScopeStatus]) -> Iterator[Metric]:
    told = [(s.name, s.proxy) for s in scopes if s.proxy.decision_latency is not None]
    decisions = (
        ((n, verdict), value)
        for n, p in told
        for verdict, value in (
            ("allowed", p.allowed),
            ("refused", p.refused),
            ("would-deny", p.would_deny),
        )
    )
    words = "Connections that were decided, by verdict."
    yield _counter("ramnet_proxy_decisions", words, "verdict", decisions)
    moved = (
        ((n, way), value)
        for n, p in told
        for way, value in (("up", p.bytes_up), ("down", p.bytes_down))
    )
    yield _counter("ramnet_proxy_bytes", "Bytes passed on.", "direction", moved)
    for key, name, words in (
        ("accepted", "connections", "Connections accepted."),
        ("over_limit", "connections_over_limit", "Connections reset, being too many."),
        ("unreachable", "unreachable", "Connections whose allowed host did not answer."),
    ):
        samples = (((n,), float(getattr(p, key))) for n, p in told)
        yield _counter(f"ramnet_proxy_{name}", words, "", samples)
    yield _gauge("ramnet_proxy_open_connections", "Open now.", (((n,), p.open) for n, p in told))
    for key, words in (
        ("decision_latency", "From a connection's first byte to its verdict."),
        ("join_latency", "From a connection to its upstream."),
    ):
        latencies = ((n, getattr(p, key)) for n, p in told)
        yield _histogram(f"ramnet_proxy_{key}_seconds", words, latencies)
