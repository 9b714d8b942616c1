"""Stages over TCP: bulk, new connections, latency; pulls; containers' own traffic."""

from __future__ import annotations

import json
import re
import shlex
import time
from typing import Final

from tests.bench.place import SITE, Place
from tests.bench.settings import Settings
from tests.bench.ways import Way, cpu_seconds, proportional_memory
from tests.lab import addresses as at
from tests.lab.image import make_image, make_large_image
from tests.lab.processes import LabError

Values = dict[str, float | list[float]]

STREAMS: Final = (1, 8, 64)
_GIB: Final = float(1 << 30)
_CONCURRENT: Final = 16
IMAGE: Final = "bench/image:1"


def prepare_files(place: Place, settings: Settings) -> None:
    """What the clients fetch: one file for each number of streams, the same in all."""
    for streams in STREAMS:
        place.inet.put_file(f"bulk-{streams}", settings.bulk_bytes // streams)


def measure_tcp(place: Place, way: Way, settings: Settings) -> Values:
    """Bulk, new connections, added latency, and what they cost."""
    values: Values = {}
    for streams in STREAMS:
        values |= _bulk(place, way, settings, streams)
    values |= _plain(place, settings)
    values |= _new_connections(place, way, settings)
    values |= _latency(place, settings, "")
    if way.explicit_port is not None:
        values |= _latency(place, settings, str(way.explicit_port))
    if pids := way.pids():
        values["loaded_mib"] = proportional_memory(pids)
    return values


def _bulk(place: Place, way: Way, settings: Settings, streams: int) -> Values:
    """Over TLS, in as many streams as said; two clients share them where there are many."""
    clients = min(2, streams)
    url = f"https://{SITE.name}/bulk-{streams}"
    parallel = ["--parallel", "--parallel-immediate", "--parallel-max", str(streams)]
    one = ["curl", "--silent", "--show-error", "--fail", "--http1.1", "--cacert",
           str(place.authority.path), *(parallel if streams > 1 else [])]  # fmt: skip
    one += ["--output", "/dev/null", url] * (streams // clients)
    script = shlex.join(one)
    if clients > 1:
        script = f"{script} & first=$!; {script}; wait $first"
    before, began = cpu_seconds(way.pids()), time.perf_counter()
    place.vm.run(["sh", "-ec", script], seconds=120).check()
    took = time.perf_counter() - began
    gib = settings.bulk_bytes // streams * streams / _GIB
    values: Values = {f"bulk_tls_{streams}_mib_s": gib * 1024 / took}
    if way.pids():
        values[f"cpu_s_gib_{streams}"] = (cpu_seconds(way.pids()) - before) / gib
    return values


def _plain(place: Place, settings: Settings) -> Values:
    rates = []
    for _ in range(2):
        ran = place.vm.run(place.client("plain", SITE.ipv4, SITE.name, "bulk-1"), seconds=120)
        said = json.loads(ran.check().out)
        if said["bytes"] < settings.bulk_bytes:
            raise LabError(f"only {said['bytes']} bytes came")
        rates.append(said["bytes"] / said["seconds"] / (1 << 20))
    return {"bulk_plain_mib_s": sum(rates) / len(rates)}


def _new_connections(place: Place, way: Way, settings: Settings) -> Values:
    """One request on each, without resumption of sessions."""
    url = f"https://{SITE.name}/small"
    argv = ["ab", "-q", "-n", "1000000", "-t", str(settings.seconds), "-c", str(_CONCURRENT), url]
    before = cpu_seconds(way.pids())
    said = place.vm.run(argv, seconds=60).check().out
    made = _number(r"Complete requests:\s+(\d+)", said)
    if _number(r"Failed requests:\s+(\d+)", said) or "Non-2xx" in said:
        raise LabError(f"ab: {said[-1500:]}")
    values: Values = {"new_tls_s": _number(r"Requests per second:\s+([\d.]+)", said)}
    if pids := way.pids():
        values["cpu_us_connection"] = (cpu_seconds(pids) - before) / made * 1e6
    return values


def _number(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    if found is None:
        raise LabError(f"not understood: {said[-1500:]}")
    return float(found[1])


def _latency(place: Place, settings: Settings, proxy: str) -> Values:
    arguments = [SITE.ipv4, SITE.name, str(settings.probes), *([proxy] if proxy else [])]
    said = json.loads(place.vm.run(place.client("latency", *arguments)).check().out)
    way = "explicit" if proxy else "transparent"
    return {f"{way}_p50_ms": said["p50"], f"{way}_p99_ms": said["p99"]}


def prepare_pull(place: Place, settings: Settings) -> None:
    """Start dockerd, and push an image whose layers do not compress."""
    _push_image(place, settings)
    data = place.docker.vm.directory / "docker" / "data"
    place.vm.run(["mount", "-t", "tmpfs", "tmpfs", str(data)]).check()
    place.docker.start()


def _push_image(place: Place, settings: Settings) -> None:
    client = place.inet.registry.client()
    repository, tag = IMAGE.split(":")
    layer_bytes = settings.image_bytes // settings.layers
    client.push(make_large_image(settings.layers, layer_bytes), repository, tag)
    client.close()


def measure_pull(place: Place, way: Way, settings: Settings) -> Values:
    """One pull of an image that is not there."""
    name = f"{SITE.name}/{IMAGE}"
    before = cpu_seconds(way.pids())
    pulled = place.docker.run("pull", "--quiet", name, seconds=180).check()
    values: Values = {"pull_s": pulled.seconds}
    if pids := way.pids():
        gib = settings.image_bytes / _GIB
        values["pull_cpu_s_gib"] = (cpu_seconds(pids) - before) / gib
    place.docker.run("rmi", name, seconds=60).check()
    return values


def prepare_container(place: Place) -> None:
    """A container that waits; tools of this machine run in its network."""
    if place.docker.process is None:
        place.docker.start()
    client = place.inet.registry.client()
    client.push(make_image("bench"), "bench/waiting", "1")
    client.close()
    name = f"{SITE.name}/bench/waiting:1"
    place.docker.run("run", "--detach", "--name", "waiting", name, "sleep", "86400").check()


def measure_container(place: Place, way: Way, settings: Settings) -> Values:
    """A container's own traffic to inet: bytes by TCP, packets by UDP."""
    inspect = ["inspect", "--format", "{{.State.Pid}}", "waiting"]
    pid = place.docker.run(*inspect).check().out.strip()
    iperf = ["nsenter", "--target", pid, "--net", "iperf3", "--json", "--client", at.INET_IPV4,
             "--time", str(settings.seconds)]  # fmt: skip
    tcp = json.loads(place.vm.run(iperf).check().out)["end"]["sum_received"]
    small = [*iperf, "--udp", "--bitrate", "0", "--length", "64"]
    udp = json.loads(place.vm.run(small).check().out)["end"]["sum"]
    came = udp["packets"] - udp["lost_packets"]
    return {
        "container_mbit_s": tcp["bits_per_second"] / 1e6,
        "container_packets_s": came / udp["seconds"],
    }
