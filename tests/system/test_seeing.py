"""What can be seen of a real service at work: metrics, the way of a connection, top, the log."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ramnet.daemon.exporter import METRICS_UID
from tests.lab import Docker, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.processes import wait_until
from tests.lab.service import DEFAULT_CONFIG
from tests.system.conftest import POLICY, sentence

pytestmark = pytest.mark.lab

_LISTEN = "127.0.0.1:9609"
_TOLD = f"refused tls      {at.FILES_BLOCKED.name}:443"


@pytest.fixture(scope="module")
def watched(lab: Lab) -> Iterator[Ramnet]:
    """The service with metrics."""
    service = lab.ramnet
    service.close()
    service.start(POLICY, config=f'{DEFAULT_CONFIG}[metrics]\nlisten = "{_LISTEN}"\n')
    yield service
    service.close()


def _visit(lab: Lab) -> None:
    lab.vm.run(["curl", "-sk", "--max-time", "20", f"https://{at.FILES_ALLOWED.name}/"]).check()
    assert not lab.vm.run(["curl", "-s", f"https://{at.FILES_BLOCKED.name}/"]).ok


def _metrics(lab: Lab) -> dict[str, float]:
    """As Prometheus in this machine reads them: under the rules, through the gate."""
    asked = lab.vm.run(["curl", "-sS", "--max-time", "20", f"http://{_LISTEN}/metrics"]).check()
    samples = [s for f in text_string_to_metric_families(asked.out) for s in f.samples]
    told = (s.labels.get("verdict", s.labels.get("le", "")) for s in samples)
    return {
        f"{sample.name} {word}": sample.value for sample, word in zip(samples, told, strict=True)
    }


def test_metrics_count_what_happens(lab: Lab, watched: Ramnet) -> None:
    before = _metrics(lab)
    _visit(lab)

    def counted() -> bool:
        now = _metrics(lab)
        return all(
            now.get(name, 0) > before.get(name, 0)  # none before the gate's first word
            for name in (
                "ramnet_dns_decisions_total allowed",
                "ramnet_dns_decisions_total refused",
                "ramnet_proxy_decisions_total allowed",
                "ramnet_proxy_decisions_total refused",
                "ramnet_dns_latency_seconds_bucket +Inf",
                "ramnet_proxy_decision_latency_seconds_count ",
                "ramnet_proxy_join_latency_seconds_count ",
                "ramnet_proxy_bytes_total ",
            )
        )

    wait_until("metrics of a visit", counted, 20)
    pid = watched.status()["metrics"]["pid"]
    uids = lab.vm.run(["sh", "-c", f"grep ^Uid: /proc/{pid}/status"]).check().out.split()[1:]
    assert set(uids) == {str(METRICS_UID)}


def test_caveats_are_found_by_the_service_itself(lab: Lab, watched: Ramnet) -> None:
    wait_until("caveats", lambda: "ramnet_caveats " in _metrics(lab), 30)


def test_the_way_by_the_rules_that_stand(watched: Ramnet) -> None:
    result = watched.command("check", "-v", f"{at.FILES_BLOCKED.name}:443")
    assert result.code == 1
    assert f"  sentence: {sentence(at.FILES_BLOCKED.name)}" in result.out
    assert "  way, scope dockerd: rules in the kernel" in result.out
    (answer,) = json.loads(watched.command("check", "-v", "--json", "a.example:443").out)
    (road,) = answer["roads"]
    fates = {(step["packet"], step["fate"].partition(" (")[0]) for step in road["steps"]}
    assert fates == {
        ("question to any DNS server", "goes to the gate"),
        ("TCP to port 443", "goes to the gate"),
        ("UDP to port 443 (QUIC)", "refused by ICMP port-unreachable"),
    }


def test_top_sees_the_newest_refusal(lab: Lab, watched: Ramnet) -> None:
    _visit(lab)
    lines = watched.command("top", "--json", "-n", "2", "-d", "0.5").check().out.splitlines()
    first, second = map(json.loads, lines)
    assert first["state"] == second["state"] == "enforcing"
    assert at.FILES_BLOCKED.name in [event["name"] for event in second["refusals"]]
    assert [row["scope"] for row in second["scopes"]] == ["dockerd"]


def test_decisions_are_logged_while_it_is_asked_for(lab: Lab, watched: Ramnet) -> None:
    assert watched.command("log-level").check().out == "info\n"
    _visit(lab)
    assert _TOLD not in watched.log_tail()
    assert watched.command("log-level", "debug").check().out == "debug\n"
    _visit(lab)
    wait_until("a decision in the log", lambda: _TOLD in watched.log_tail(), 20)
    assert json.loads(watched.command("log-level", "--json").out) == {"level": "debug"}
    watched.command("log-level", "info").check()


def test_audit_mode_lets_pass_and_records(lab: Lab, watched: Ramnet, docker: Docker) -> None:
    """With real clients; then the same policy enforced closes it again."""
    visit = ["curl", "-sk", "--max-time", "20", f"https://{at.FILES_BLOCKED.name}/"]
    watched.set_policy(f"enforce = false\n{POLICY}")
    watched.wait_status(lambda status: status["state"] == "auditing")
    told = watched.command("status")
    assert told.code == 1
    assert "auditing" in told.out
    assert "NOT ENFORCED" in told.out
    assert sentence(at.FILES_BLOCKED.name) not in lab.vm.run(visit).check().out
    docker.forget()
    docker.run("pull", f"{at.REGISTRY_BLOCKED.name}/{at.IMAGE}").check()
    recorded = {event["name"] for event in watched.events("--verdict", "would-deny")}
    assert {at.FILES_BLOCKED.name, at.REGISTRY_BLOCKED.name} <= recorded
    name = "ramnet_proxy_decisions_total would-deny"
    wait_until("metrics", lambda: _metrics(lab).get(name, 0) > 0, 20)
    watched.set_policy(POLICY)
    watched.wait_status(lambda status: status["state"] == "enforcing")
    assert sentence(at.FILES_BLOCKED.name) in lab.vm.run(visit).out
    assert not docker.run("pull", f"{at.REGISTRY_BLOCKED.name}/{at.IMAGE}").ok
