"""The host that is everything but the vm."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab import addresses
from tests.lab.certificates import Authority
from tests.lab.dns import NameServer
from tests.lab.host import Host
from tests.lab.processes import wait_until
from tests.lab.registry import Registry
from tests.lab.web import WebServer

_CATCHALL_PORT = 7
_ADDRESSES = """
ip address add {a.INET_IPV4}/24 dev {a.INET_UPLINK}
ip address add {a.RESOLVER.ipv4}/24 dev {a.INET_UPLINK}
ip -6 address add {a.INET_IPV6}/64 dev {a.INET_UPLINK} nodad
ip -6 address add {a.RESOLVER.ipv6}/64 dev {a.INET_UPLINK} nodad
ip address add {a.FOREIGN_RESOLVER.ipv4}/32 dev lo
ip -6 address add {a.FOREIGN_RESOLVER.ipv6}/128 dev lo nodad
ip link set {a.INET_UPLINK} up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
"""
# `socket` finds listeners: what somebody listens for is left alone, programs of tests included.
_CATCHALL_RULES = """
table inet catchall {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        iifname != "{a.INET_UPLINK}" accept
        socket wildcard 0 accept
        socket wildcard 1 accept
        meta l4proto {{ tcp, udp }} dnat ip to {a.INET_IPV4}:{port}
        meta l4proto {{ tcp, udp }} dnat ip6 to [{a.INET_IPV6}]:{port}
    }}
}}
"""


class Inet(Host):
    """inet with all its servers.

    Attributes:
        registries: the docker-registry processes by site name.
        web: nginx.
        resolver: what the vm's resolv.conf names.
        foreign_resolver: what it does not, and what tells other addresses.
    """

    registries: dict[str, Registry]
    web: WebServer
    resolver: NameServer
    foreign_resolver: NameServer

    def build(self, authority: Authority) -> None:
        """Give it addresses and start its servers; the wire to the vm exists already."""
        self._make_network()
        self._start_registries()
        self._start_resolvers()
        self.web = WebServer(self, authority, self.registries.values())
        script = Path(__file__).with_name("catchall.py")
        command = [sys.executable, "-I", "-S", str(script), str(_CATCHALL_PORT)]
        catchall = self.start(command, log="catchall")
        for registry in self.registries.values():
            registry.seed()
        self.web.wait_ready()
        self.wait_listening(_CATCHALL_PORT, catchall)
        wait_until("name servers answer", self._resolvers_answer)

    def _make_network(self) -> None:
        script = _ADDRESSES.format(a=addresses)
        for network in addresses.INET_NETWORKS:
            family = "-6" if ":" in network else "-4"
            script += f"ip {family} route add local {network} dev lo\n"
        self.run(["sh", "-ec", script]).check()
        rules = _CATCHALL_RULES.format(a=addresses, port=_CATCHALL_PORT)
        caught = self.run(["nft", "-f", "-"], stdin=rules)
        if "No such file or directory" not in caught.text:
            caught.check()
        # Else the kernel has no such NAT: what is asked of nobody's address is refused there.

    def _start_registries(self) -> None:
        registries = (
            Registry(self, addresses.REGISTRY_ALLOWED, 6001),
            Registry(self, addresses.REGISTRY_BLOCKED, 6002),
            Registry(
                self, addresses.REDIRECT_ALLOWED, 6003, blobs_at=f"https://{addresses.CDN.name}/"
            ),
            Registry(self, addresses.LOGIN_ALLOWED, 6004, login=True),
        )
        self.registries = {registry.site.name: registry for registry in registries}

    def _start_resolvers(self) -> None:
        self.resolver = NameServer(
            self,
            addresses.RESOLVER,
            sites=addresses.SITES,
            aliases=addresses.ALIASES,
            others=addresses.ANYWHERE,
        )
        self.foreign_resolver = NameServer(
            self,
            addresses.FOREIGN_RESOLVER,
            sites=(),
            aliases={},
            others=addresses.FOREIGN_ANSWER,
        )

    def _resolvers_answer(self) -> bool:
        listeners = self.run(["ss", "-Hlnu", "sport", "=", ":53"]).out
        both = addresses.RESOLVER.addresses + addresses.FOREIGN_RESOLVER.addresses
        return all(f"{address}:53" in listeners.replace("[", "").replace("]", "")
                   for address in both)  # fmt: skip
