"""What stands between client and server: started before a measurement, gone after it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final, Protocol

from tests.bench.place import FAST, FAST_ZONE, HERE, LISTED, SITE, SLOW, SLOW_ZONE, Place
from tests.lab.processes import Process
from tests.lab.service import CONTACT, ORGANIZATION

PROXY_UID: Final = 13
"""Debian's user `proxy`, which every installation has: what peers run as."""
_TABLE = "inet peer"
_NAMES = ("udp dport 53 redirect to :5300", "tcp dport 53 redirect to :5300")
_TICKS: Final = os.sysconf("SC_CLK_TCK")

CONFIG: Final = f"""
policy = "/etc/ramnet/policy.toml"
state_dir = "{{state}}"
control_socket = "/run/ramnet/control.sock"
[[scope]]
name = "dockerd"
netns = "self"
[resolver]
upstream = ["{FAST}"]
zones = {{ "{SLOW_ZONE}" = ["{SLOW}"] }}
[proxy]
explicit = ["127.0.0.1:3128"]
"""


def policy(*further: str, version: int = 1) -> str:
    """The policy of all stages: what is used, and a thousand entries beside it."""
    lines = [
        f"version = {version}",
        f'organization = "{ORGANIZATION}"',
        f'contact = "{CONTACT}"',
        "docker_hub = false",
        *(f'[[registry]]\ndomain = "{zone}"' for zone in (FAST_ZONE, SLOW_ZONE)),
        *(f'[[registry]]\nhost = "{host}"' for host in (*LISTED, *further)),
    ]
    return "\n".join(lines) + "\n"


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


class Way(Protocol):
    """One way; ``start`` and ``stop`` leave nothing but log files behind."""

    name: str
    explicit_port: int | None
    """Of its explicit proxy on 127.0.0.1, where it has one."""

    def start(self) -> None:
        """Be in force when this returns."""

    def stop(self) -> None:
        """Be gone when this returns."""

    def pids(self) -> list[int]:
        """Its processes, as this machine numbers them."""


class Direct:
    """No gate at all."""

    name = "direct"
    explicit_port: int | None = None

    def __init__(self, place: Place) -> None:
        self.place = place

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""

    def pids(self) -> list[int]:
        return []


class Gate:
    """ramnet."""

    name = "ramnet"
    explicit_port: int | None = 3128

    def __init__(self, place: Place) -> None:
        self._ramnet = place.ramnet

    def start(self) -> None:
        self._ramnet.start(policy(), config=CONFIG)

    def stop(self) -> None:
        self._ramnet.close()

    def pids(self) -> list[int]:
        process = self._ramnet.process
        pid = process.pid if process else None
        return family(pid) if pid else []


class Peer(ABC):
    """A program of Debian's, with its configuration from ``peers`` and a NAT rule before it."""

    explicit_port: int | None = None
    redirects: tuple[str, ...] = (
        "tcp dport 443 redirect to :8443",
        "tcp dport 80 redirect to :8080",
    )

    def __init__(self, place: Place, name: str, port: int) -> None:
        self.name = name
        self._place, self._port = place, port
        self._directory = place.vm.directory / name
        self._directory.mkdir()
        os.chown(self._directory, PROXY_UID, PROXY_UID)
        self._process: Process | None = None
        (self._directory / "allowed.txt").write_text("\n".join((*LISTED, SITE.name)) + "\n")

    @abstractmethod
    def command(self, config: Path) -> list[str]:
        """What starts it in the foreground."""

    def start(self) -> None:
        source = next((HERE / "peers").glob(f"{self.name}.c*"))
        config = self._directory / source.name
        values = {
            "directory": self._directory,
            "pair": self._place.authority.issue("peer.bench.example"),
            "dns": FAST,
            "fast": FAST,
            "slow": SLOW,
            "fast_zone": FAST_ZONE,
            "slow_zone": SLOW_ZONE,
            "listed_servers": "\n".join(f"server=/{host}/{FAST}" for host in LISTED),
            "listed_zones": "\n".join(f'    local-zone: "{host}." transparent' for host in LISTED),
        }
        config.write_text(source.read_text().format(**values))
        for path in (*self._directory.iterdir(), *config.parents[2].glob("../authority/*")):
            os.chown(path, PROXY_UID, PROXY_UID)
        drop = ["setpriv", f"--reuid={PROXY_UID}", f"--regid={PROXY_UID}", "--clear-groups"]
        self._process = self._place.vm.start([*drop, *self.command(config)], log=self.name)
        self._place.vm.wait_listening(self._port, self._process)
        rules = (
            (HERE / "peers/rules.nft")
            .read_text()
            .format(uid=PROXY_UID, redirects="; ".join(self.redirects))
        )
        self._place.vm.run(["nft", "-f", "-"], stdin=rules).check()

    def stop(self) -> None:
        self._place.vm.run(["nft", "delete", "table", *_TABLE.split()])
        if self._process is not None:
            self._process.stop(3)
        self._process = None

    def pids(self) -> list[int]:
        pid = self._process.pid if self._process else None
        return family(pid) if pid else []


class HAProxy(Peer):
    """By SNI, with splice."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, "haproxy", 8443)

    def command(self, config: Path) -> list[str]:
        return ["haproxy", "-db", "-f", str(config)]


class Squid(Peer):
    """Peek and splice; also an explicit proxy."""

    explicit_port: int | None = 3128

    def __init__(self, place: Place) -> None:
        super().__init__(place, "squid", 3128)

    def command(self, config: Path) -> list[str]:
        return ["squid", "-N", "-f", str(config)]


class Dnsmasq(Peer):
    """DNS alone."""

    redirects = _NAMES

    def __init__(self, place: Place) -> None:
        super().__init__(place, "dnsmasq", 5300)

    def command(self, config: Path) -> list[str]:
        return ["dnsmasq", f"--conf-file={config}"]


class Unbound(Peer):
    """DNS alone."""

    redirects = _NAMES

    def __init__(self, place: Place) -> None:
        super().__init__(place, "unbound", 5300)

    def command(self, config: Path) -> list[str]:
        return ["unbound", "-d", "-c", str(config)]


def cpu_seconds(pids: list[int]) -> float:
    """Processor time of these processes since their start (proc_pid_stat(5), 14 and 15)."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def proportional_memory(pids: list[int]) -> float:
    """MiB of memory (PSS: what is shared counts in parts) of these processes."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def pin(pids: list[int], cpu: int) -> None:
    """Keep all threads of these processes on one processor."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {cpu})
