"""Metrics of a real gate's own status: nothing that it counts is lost on the way."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ramnet.daemon.exporter import exposition
from ramnet.daemon.metric_snapshot import Caveat, Snapshot
from ramnet.gate.gate import Gate
from ramnet.gate.histogram import Histogram
from tests.daemon.test_metrics import sample_name
from tests.gate.test_gate import NEAR, _spec

UNITS = ("seconds", "bytes", "total", "info", "count", "sum", "bucket")


def _gate_status(tmp_path: Path) -> dict[str, Any]:
    async def status() -> dict[str, Any]:
        gate = Gate(_spec(tmp_path), NEAR)
        try:
            return gate.status()
        finally:
            await gate.close()

    return asyncio.run(status())


def _snapshot(**gate: Any) -> bytes:
    rules = {"intact": True, "problem": None, "refused_packets": {"tcp": 4}, "restores": 2}
    scope = {"name": "dockerd", "rules": rules, "gate_ready": True, "restarts": 1, **gate}
    waiting = {"name": "late", "rules": {"intact": False, "refused_packets": None}}
    policy = {"version": 7, "entries": 3, "age_s": 1.5, "enforced": True}
    status = {
        **{"state": "enforcing", "version": "1", "supervisor": {"pid": 1, "uptime_s": 2.0}},
        **{"policy": policy, "scopes": [scope, waiting], "warnings": ["one"]},
    }
    caveats = [Caveat("high", "active"), Caveat("high", "active"), Caveat("low", "unknown")]
    return msgspec.json.encode({"status": status, "caveats": caveats})


def _families(data: bytes) -> dict[str, Any]:
    text = exposition(msgspec.json.decode(data, type=Snapshot)).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def _values(family: Any) -> dict[str, float]:
    return {sample_name(sample): sample.value for sample in family.samples}


def test_names_units_and_labels(tmp_path: Path) -> None:
    found = _families(_snapshot(**_gate_status(tmp_path)))
    assert len(found) > 30
    for name, family in found.items():
        assert name.startswith("ramnet_")
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert sample.name.endswith("_total") is (family.type == "counter")
            assert "ms" not in name.split("_")
            assert set(sample.labels) <= {
                "scope", "verdict", "protocol", "direction", "state", "severity", "version", "le"
            }  # fmt: skip


def test_counters_come_through(tmp_path: Path) -> None:
    gate = _gate_status(tmp_path)
    gate["resolver"] |= {"queries": 9, "decisions": {"allowed": 4, "refused": 5}}
    gate["proxy"] |= {"would_deny": 3, "bytes_up": 10, "bytes_down": 20}
    values: dict[str, float] = {}
    for family in _families(_snapshot(**gate)).values():
        values |= _values(family)
    assert values["ramnet_dns_queries_total{scope=dockerd}"] == 9
    assert values["ramnet_dns_decisions_total{scope=dockerd,verdict=refused}"] == 5
    assert values["ramnet_proxy_decisions_total{scope=dockerd,verdict=would-deny}"] == 3
    assert values["ramnet_proxy_bytes_total{direction=down,scope=dockerd}"] == 20
    assert values["ramnet_rules_restores_total{scope=dockerd}"] == 2
    assert values["ramnet_caveats{severity=high,state=active}"] == 2
    assert values["ramnet_caveats{severity=low,state=unknown}"] == 1
    assert sum(value for name, value in values.items() if name.startswith("ramnet_caveats{")) == 3


def test_a_histogram_s_buckets_add_up(tmp_path: Path) -> None:
    histogram = Histogram()
    for seconds in (0.0001, 0.003, 0.003, 99.0):
        histogram.observe(seconds)
    gate = _gate_status(tmp_path)
    gate["resolver"]["latency"] = histogram.document()
    values = _values(_families(_snapshot(**gate))["ramnet_dns_latency_seconds"])
    name = "ramnet_dns_latency_seconds"
    expected = {"0.0001": 1, "0.0025": 1, "0.005": 3, "10.0": 3, "+Inf": 4}
    for bound, many in expected.items():
        assert values[f"{name}_bucket{{le={bound},scope=dockerd}}"] == many
    assert values[f"{name}_count{{scope=dockerd}}"] == 4
    assert values[f"{name}_sum{{scope=dockerd}}"] == pytest.approx(99.0061)


@pytest.mark.parametrize(
    "resolver",
    [
        {"decisions": {f"verdict-{n}": n for n in range(1000)}},
        {"decisions": {'x"} 1\nevil 2\n#': 1}},
        {"latency": {"bounds_s": [1.0], "counts": [1], "sum_s": 0.0}},
        {"queries": "many"},
        {"latency": {"bounds_s": [0.0] * 1000, "counts": [0] * 1001, "sum_s": 0.0}},
        {"queries": -(10**30)},
    ],
)
def test_a_gate_that_lies_makes_no_series(tmp_path: Path, resolver: dict[str, Any]) -> None:
    gate = _gate_status(tmp_path)
    honest = sum(len(f.samples) for f in _families(_snapshot(**gate)).values())
    gate["resolver"] |= resolver
    try:
        found = _families(_snapshot(**gate))
    except (msgspec.DecodeError, ValueError):
        return
    assert sum(len(family.samples) for family in found.values()) == honest
