"""Where it is measured: the vm, and an inet with servers that are not to be the slowest part."""

from __future__ import annotations

import compileall
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

from tests.lab import addresses as at
from tests.lab.certificates import Authority
from tests.lab.docker import Docker
from tests.lab.host import Host
from tests.lab.processes import Process
from tests.lab.registry import Registry
from tests.lab.service import Ramnet
from tests.lab.sweep import make_directory, remove_directory, sweep
from tests.lab.vm import Vm

HERE: Final = Path(__file__).parent
SITE: Final = at.Site("app.bench.example", "203.0.113.20", "2001:db8:2::14")
"""Every file, and the registry."""
FAST_ZONE, SLOW_ZONE = "bench.example", "slow.example"
FAST, SLOW = "192.0.2.54", "192.0.2.55"
"""DNS servers: one answers at once, the other after 20 ms."""
LISTED: Final = tuple(f"registry-{number}.listed.example" for number in range(1000))
"""Entries beside those that are used, for each way alike."""
LAST_CPU: Final = (os.cpu_count() or 1) - 1
_REGISTRY_PORT = 6001
_FILES = "/run/files"
_NETWORK = """
ip address add {a.INET_IPV4}/24 dev {a.INET_UPLINK}
ip address add {fast}/24 dev {a.INET_UPLINK}
ip address add {slow}/24 dev {a.INET_UPLINK}
ip -6 address add {a.INET_IPV6}/64 dev {a.INET_UPLINK} nodad
ip link set {a.INET_UPLINK} up
ip -4 route add local 203.0.113.0/24 dev lo
echo 1 >/proc/sys/net/ipv4/ip_forward
"""


def pinned(cpu: int, *argv: str) -> list[str]:
    """A command that runs on one processor."""
    return ["taskset", "--cpu-list", str(cpu), *argv]


class Servers(Host):
    """inet, as far as it is wanted here."""

    def build(self, authority: Authority) -> None:
        """Start the servers; the wire to the vm is there."""
        script = _NETWORK.format(a=at, fast=FAST, slow=SLOW)
        self.run(["sh", "-ec", script]).check()
        directory = self.directory / "web"
        directory.mkdir()
        self.path(_FILES).mkdir()
        config = directory / "nginx.conf"
        text = (HERE / "peers/nginx.conf").read_text()
        config.write_text(
            text.format(
                directory=directory,
                pair=authority.issue(SITE.name),
                address=SITE.ipv4,
                site=SITE.name,
                root=_FILES,
                registry=_REGISTRY_PORT,
            )
        )
        self.registry = Registry(self, SITE, _REGISTRY_PORT)
        self.start(["nginx", "-e", "stderr", "-c", str(config)], log="nginx")
        self._start_resolvers()
        self.start(["iperf3", "--server", "--bind", at.INET_IPV4], log="iperf3")
        self.wait_listening(_REGISTRY_PORT, self.registry.process)

    def _start_resolvers(self) -> None:
        options = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                   "--local-ttl=60", "--bind-interfaces", "--user=root", "--pid-file=",
                   f"--address=/#/{SITE.ipv4}"]  # fmt: skip
        fast = pinned(LAST_CPU, "dnsmasq", *options, f"--listen-address={FAST}")
        self.start(fast, log="dns-fast")
        script = str(HERE / "clients/slow_dns.py")
        slow = pinned(LAST_CPU, sys.executable, "-I", "-S", script, SLOW, SITE.ipv4)
        self.start(slow, log="dns-slow")

    def put_file(self, name: str, size: int) -> None:
        """Serve ``size`` bytes, in memory, as /``name``."""
        block = os.urandom(1 << 20)
        with self.path(f"{_FILES}/{name}").open("wb") as file:
            for at_byte in range(0, size, len(block)):
                file.write(block[: size - at_byte])


class Place:
    """Both hosts, dockerd and ramnet; a context manager."""

    def __init__(self) -> None:
        sweep()
        # The hosts' environment lets no program write what it has compiled.
        compileall.compile_dir(HERE.parents[1] / "ramnet", quiet=1)
        self.directory = make_directory()
        with contextlib.ExitStack() as undo:
            undo.callback(remove_directory, self.directory)
            self.authority = Authority(self.directory / "authority")
            self.vm = Vm.create("vm", self.directory / "vm")
            undo.callback(self.vm.close)
            self.inet = Servers.create("inet", self.directory / "inet")
            undo.callback(self.inet.close)
            self._lay_wire()
            self.inet.build(self.authority)
            self.docker = Docker(self.vm, cgroup=self.directory.name)
            self.ramnet = Ramnet(self.vm)
            undo.callback(self.ramnet.close)
            self._undo = undo.pop_all()

    def _lay_wire(self) -> None:
        script = (
            f"ip link add {at.VM_UPLINK} type veth peer name {at.INET_UPLINK} netns {self.inet.pid}"
            f"\nip address add {at.VM_IPV4}/24 dev {at.VM_UPLINK}"
            f"\nip -6 address add {at.VM_IPV6}/64 dev {at.VM_UPLINK} nodad"
            f"\nip link set {at.VM_UPLINK} up\nip route add default via {at.INET_IPV4}"
        )
        self.vm.run_outside(["sh", "-ec", script]).check()
        self.vm.set_resolver(FAST)
        self.vm.set_hosts({SITE.name: SITE.ipv4})
        self.authority.trust_on(self.vm)

    def forget_connections(self) -> None:
        """Empty the vm's conntrack: what a way before had from the same ports to the same server
        would go where it went then, or be refused as older than the rules."""
        flush = (
            "from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket\n"
            "with NFCTSocket() as connections: connections.flush()"
        )
        self.vm.run([sys.executable, "-I", "-c", flush]).check()

    def client(self, name: str, *arguments: str) -> list[str]:
        """The command of a client of ours."""
        script = str(HERE / "clients" / f"{name}.py")
        return [sys.executable, "-I", "-S", script, *arguments]

    def start_client(self, name: str, *arguments: str) -> Process:
        """Start it in the vm."""
        return self.vm.start(self.client(name, *arguments), log=f"client-{name}")

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()
