"""Stages of policy size: load, memory and decision, and a change while a prober looks."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any, Final

from ramnet.policy import Policy
from tests.bench.place import FAST, FAST_ZONE, LAST_CPU, SITE, Place, pinned
from tests.bench.settings import Settings
from tests.bench.traffic import Values
from tests.bench.ways import CONFIG, Gate, proportional_memory
from tests.lab.processes import LabError

_DECISIONS: Final = 50_000
LARGE: Final = 100_000
"""From so many entries on TOML is read in the first round only: it takes long."""


def document(entries: int, *, version: int = 1) -> dict[str, object]:
    """Hosts, domains and a few wildcards, as an administrator with many of them would have."""
    hosts = [{"host": f"registry-{n}.team{n % 97}.example"} for n in range(entries * 9 // 10)]
    domains = [{"domain": f"area-{n}.example"} for n in range(entries - len(hosts) - 2)]
    used = [{"domain": FAST_ZONE}, {"host": "build-*.ci.example"}]
    return {"version": version, "docker_hub": False, "registry": [*hosts, *domains, *used]}


def measure_size(entries: int, *, toml: bool) -> Values:
    """Compile in a child, as the service does; then decide."""
    text = json.dumps(document(entries))
    seconds, memory, blob = _compile(text.encode())
    values: Values = {
        "load_json_s": seconds,
        "load_json_mib": memory,
        "blob_mib": len(blob) / 2**20,
    }
    if toml:
        seconds, memory, _ = _compile(_toml(entries).encode())
        values |= {"load_toml_s": seconds, "load_toml_mib": memory}
    return values | _decisions(Policy(blob), entries)


def _toml(entries: int) -> str:
    import tomli_w

    return tomli_w.dumps(document(entries))


def _compile(text: bytes) -> tuple[float, float, bytes]:
    """Seconds, MiB at most, and what came out."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(text)
        source.seek(0)
        began = time.perf_counter()
        child = subprocess.run(
            [sys.executable, "-I", "-c", _COMPILE],
            stdin=source, stdout=target, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if child.returncode:
            raise LabError(f"the policy was refused: {child.stderr}")
        target.seek(0)
        return seconds, int(child.stderr) / 1024, target.read()


# What wait4(2) tells counts the memory of the process that it was forked from, too.
_COMPILE: Final = """
import sys
from ramnet.policy.__main__ import main
code = main()
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


def _decisions(policy: Policy, entries: int) -> Values:
    """Microseconds for one decision, by what the name is."""
    hosts = entries * 9 // 10
    stride = max(1, hosts // 997)
    cases: dict[str, list[str]] = {
        "plain": [f"registry-{n}.team{n % 97}.example" for n in range(0, hosts, stride)],
        "domain": [f"a{n}.b.{FAST_ZONE}" for n in range(997)],
        "wildcard": [f"build-{n}.ci.example" for n in range(997)],
        "miss": [f"registry-{n}.other.example" for n in range(997)],
    }
    return {
        f"decide_{case}_us": _microseconds(policy, names, case != "miss")
        for case, names in cases.items()
    }


def _microseconds(policy: Policy, names: list[str], allowed: bool) -> float:
    if any(policy.decide(name, 443).allowed is not allowed for name in names):
        raise LabError("a name is decided wrongly")
    decide, rounds = policy.decide, _DECISIONS // len(names)
    began = time.perf_counter()
    for _ in range(rounds):
        for name in names:
            decide(name, 443)
    return (time.perf_counter() - began) / (rounds * len(names)) * 1e6


def measure_reloads(place: Place, settings: Settings) -> Values:
    """Change the largest policy while a prober asks; JSON, so the file is named so."""
    entries = settings.policy_sizes[-1]
    texts = {v: json.dumps(document(entries, version=v)) for v in range(1, settings.reloads + 2)}
    ramnet = place.ramnet
    ramnet.start(None, config=_with(place, texts[1]), seconds=60)
    try:
        taken: list[float] = []
        stalls: list[float] = []
        wrong: list[float] = []
        with _prober(place) as ask:
            ask()
            for version in range(2, settings.reloads + 2):
                began = time.perf_counter()
                _replace(place, texts[version])
                digest = hashlib.sha256(texts[version].encode()).hexdigest()
                ramnet.wait_status(partial(_names, digest), 60)
                taken.append(time.perf_counter() - began)
                said = ask()
                stalls.append(said["stall_ms"])
                wrong.append(said["wrong"])
        pids = Gate(place).pids()
        return {
            "reload_s": taken,
            "reload_stall_ms": stalls,
            "reload_wrong": wrong,
            "large_policy_mib": proportional_memory(pids),
        }
    finally:
        ramnet.close()


def _names(digest: str, status: dict[str, Any]) -> bool:
    return digest in json.dumps(status)


def _with(place: Place, text: str) -> str:
    _replace(place, text)
    return CONFIG.replace("policy.toml", "policy.json")


def _replace(place: Place, text: str) -> None:
    place.vm.write("/etc/ramnet/policy.json.new", text)
    new = place.vm.path("/etc/ramnet/policy.json.new")
    new.rename(place.vm.path("/etc/ramnet/policy.json"))


@contextmanager
def _prober(place: Place) -> Iterator[Callable[[], dict[str, float]]]:
    """Gives what was seen since the last call."""
    names = (FAST, f"probe.{FAST_ZONE}", SITE.ipv4, "probe.refused.example")
    place.forget_connections()
    argv = place.vm.enter_command + pinned(LAST_CPU, *place.client("prober", *names))
    with talking(argv) as (said, told):

        def ask() -> dict[str, float]:
            said.write("\n")
            said.flush()
            line = told.readline()
            if not line:
                raise LabError("the prober has ended")
            return dict(json.loads(line))

        yield ask


@contextmanager
def talking(argv: list[str]) -> Iterator[tuple[IO[str], IO[str]]]:
    """A program's standard input and output; it ends with its input."""
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    ) as popen:
        assert popen.stdin
        assert popen.stdout
        try:
            yield popen.stdin, popen.stdout
        finally:
            popen.stdin.close()
            popen.wait(30)
