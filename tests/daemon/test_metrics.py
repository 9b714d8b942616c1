"""What Prometheus reads: a real exporter beside a real service."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import stat
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from prometheus_client.core import Sample
from prometheus_client.parser import text_string_to_metric_families

from ramnet.config import Metrics
from ramnet.daemon.client import ask
from ramnet.daemon.exporter import MAX_CLIENTS, METRICS_UID
from ramnet.daemon.metrics_keeper import PAUSE, MetricsKeeper
from ramnet.ruleset import GATE_UID
from tests.lab.processes import wait_until

from .conftest import PATIENCE, Bench, Running
from .test_service import wait_gone

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def scrape(where: Path | int, request: bytes = GET) -> tuple[int, str]:
    """Status and body of one answer."""
    with connect(where) as client:
        client.sendall(request)
        data = b""
        while piece := client.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body.decode()


def connect(where: Path | int) -> socket.socket:
    client = socket.socket(socket.AF_INET if isinstance(where, int) else socket.AF_UNIX)
    client.settimeout(PATIENCE)
    try:
        client.connect(("127.0.0.1", where) if isinstance(where, int) else str(where))
    except OSError:
        client.close()
        raise
    return client


def samples(where: Path | int) -> dict[str, float]:
    """``name{label=value,...}``, or the bare name, -> value."""
    status, body = scrape(where)
    assert status == 200, body
    return {
        sample_name(sample): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def sample_name(sample: Sample) -> str:
    labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else sample.name


def unix(bench: Bench) -> Path:
    return bench.folder / "run" / "metrics.sock"


def start(bench: Bench, listen: str | None = None) -> Running:
    bench.configure(f'[metrics]\nlisten = "{listen or unix(bench)}"\n')
    run = bench.start()
    run.wait_for("enforcing")
    return run


def exporter(bench: Bench) -> int:
    """Its process, once there is one."""
    wait_until("exporter", lambda: _metrics(bench)["pid"], PATIENCE)
    return int(str(_metrics(bench)["pid"]))


def _metrics(bench: Bench) -> dict[str, object]:
    return dict(ask(bench.control, "GET", "/v1/status")["metrics"])


def test_without_the_table_nothing_is_served(bench: Bench) -> None:
    bench.start().wait_for("enforcing")
    assert ask(bench.control, "GET", "/v1/status")["metrics"] is None


def test_what_the_status_says_is_served_on_loopback(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start(bench, f"127.0.0.1:{port}")
    exporter(bench)
    found = samples(port)
    assert found["ramnet_up"] == found["ramnet_state{state=enforcing}"] == 1
    assert found["ramnet_state{state=auditing}"] == 0
    assert found["ramnet_policy_version"] == 1
    assert found["ramnet_packets_refused_total{protocol=tcp,scope=dockerd}"] == 3
    assert found["ramnet_gate_ready{scope=dockerd}"] == 1
    assert found["ramnet_rules_intact{scope=dockerd}"] == 1
    (bench.state / "tampered").touch()
    name = "ramnet_rules_restores_total{scope=dockerd}"
    wait_until("restore", lambda: samples(port)[name] == 1, PATIENCE)


def test_caveats_are_counted_by_state(bench: Bench) -> None:
    start(bench)
    exporter(bench)
    active = "ramnet_caveats{severity=high,state=active}"
    wait_until("caveats", lambda: samples(unix(bench)).get(active) == 1, PATIENCE)
    found = samples(unix(bench))
    assert sum(value for name, value in found.items() if name.startswith("ramnet_caveats{")) == 1


def test_the_exporter_has_a_uid_of_its_own_and_no_privilege(bench: Bench) -> None:
    start(bench)
    pid = exporter(bench)
    assert scrape(unix(bench))[0] == 200  # privileges go before the first answer
    assert METRICS_UID not in (0, GATE_UID)
    status = Path(f"/proc/{pid}/status").read_text()
    for kind in ("Uid", "Gid"):
        assert re.search(rf"^{kind}:((\s+{METRICS_UID}){{4}})$", status, re.MULTILINE)
    assert re.search(r"^Groups:\s*$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE)


ODD = [
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    (b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"GET /metrics" + b"x" * 20000, 400),
    (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    (b"GET /metrics?x HTTP/1.1\r\nHost: x\r\n\r\n", 200),
]


def test_odd_requests(bench: Bench) -> None:
    start(bench)
    pid = exporter(bench)
    for request, status in ODD:
        try:
            assert scrape(unix(bench), request)[0] == status
        except (ConnectionResetError, BrokenPipeError):
            assert len(request) > 10000  # it was answered before all of it was read
    assert exporter(bench) == pid


def test_slow_and_silly_clients_stop_neither_the_service_nor_the_next_client(bench: Bench) -> None:
    start(bench)
    pid = exporter(bench)
    gate = bench.ask_gate()["pid"]
    crowd = [connect(unix(bench)) for _ in range(3 * MAX_CLIENTS)]
    try:
        for number, client in enumerate(crowd):
            if number % 2:
                client.sendall(GET[: number % len(GET)])  # and never the rest
        assert samples(unix(bench))["ramnet_up"] == 1
        sockets = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert sum(each.startswith("socket:") for each in sockets) < MAX_CLIENTS + 10
        assert crowd[0].recv(1) == b""  # the first to come was let go
    finally:
        for client in crowd:
            client.close()
    assert ask(bench.control, "GET", "/v1/status")["state"] == "enforcing"
    assert (exporter(bench), bench.ask_gate()["pid"]) == (pid, gate)


def test_a_killed_exporter_is_replaced(bench: Bench) -> None:
    run = start(bench)
    first = exporter(bench)
    gate = bench.ask_gate()["pid"]
    os.kill(first, signal.SIGKILL)
    run.wait_for("the exporter of metrics ended; it is started again")
    assert samples(unix(bench))["ramnet_up"] == 1  # waits in the backlog of the same socket
    assert exporter(bench) != first
    wait_until("no problem", lambda: _metrics(bench)["problem"] is None, PATIENCE)
    assert bench.ask_gate()["pid"] == gate
    assert ask(bench.control, "GET", "/v1/status")["state"] == "enforcing"


def test_a_taken_port_is_told_and_hinders_nothing(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        start(bench, listen)
        words = (
            f"metrics are not served: {listen} cannot be had (Address already in use); free it, "
            "or choose another [metrics] listen"
        )
        assert words in ask(bench.control, "GET", "/v1/status")["warnings"]
        assert ask(bench.control, "GET", "/v1/status")["state"] == "enforcing"


def test_a_unix_socket_is_anybodys_and_goes_with_the_service(bench: Bench) -> None:
    run = start(bench)
    pid = exporter(bench)
    assert stat.S_IMODE(unix(bench).stat().st_mode) == 0o666
    run.stop(signal.SIGKILL)
    wait_gone(pid)
    assert unix(bench).exists()
    run = start(bench)  # over the socket of the dead one
    assert exporter(bench) != pid
    assert scrape(unix(bench))[0] == 200
    assert run.stop() == 0
    assert not unix(bench).exists()


def test_the_service_is_asked_at_most_twice_a_second(bench: Bench) -> None:
    """However often Prometheus, or whoever else, asks; those who wait share an answer."""
    asked: list[float] = []

    async def status() -> dict[str, Any]:
        asked.append(time.monotonic())
        return STATUS

    async def serve() -> int:
        keeper = MetricsKeeper(Metrics(listen=str(bench.folder / "m.sock")), status, print)
        running = asyncio.create_task(keeper.run())
        answers = 0
        while not answers or time.monotonic() - asked[0] < 3 * PAUSE:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                await asyncio.to_thread(scrape, bench.folder / "m.sock")
                answers += 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return answers

    assert asyncio.run(serve())
    assert all(later - earlier > 0.9 * PAUSE for earlier, later in pairwise(asked))
    assert not (bench.folder / "m.sock").exists()


STATUS = {
    **{"state": "enforcing", "version": "1", "supervisor": {"uptime_s": 1.0}, "warnings": []},
    "policy": {"version": 1, "entries": 1, "age_s": 1.0, "enforced": True},
    "scopes": [],
}


def test_what_is_no_socket_is_left_alone(bench: Bench) -> None:
    precious = bench.folder / "precious"
    precious.write_text("mine")
    bench.configure(f'[metrics]\nlisten = "{precious}"\n')
    bench.start().wait_for("metrics are not served")
    assert precious.read_text() == "mine"
