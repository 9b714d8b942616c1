"""The host that is the developer's machine: dockerd, the docker client, ramnet."""

from __future__ import annotations

from tests.lab import addresses
from tests.lab.certificates import Authority
from tests.lab.host import Host
from tests.lab.inet import Inet

_NETWORK = """
ip link add {a.VM_UPLINK} type veth peer name {a.INET_UPLINK} netns {inet_pid}
ip address add {a.VM_IPV4}/24 dev {a.VM_UPLINK}
ip -6 address add {a.VM_IPV6}/64 dev {a.VM_UPLINK} nodad
ip link set {a.VM_UPLINK} up
ip route add default via {a.INET_IPV4}
ip -6 route add default via {a.INET_IPV6}
"""


class Vm(Host):
    """The vm; its uplink is a veth whose other end is in inet."""

    def build(self, inet: Inet, authority: Authority) -> None:
        """Lay the wire, name the resolver and trust the lab's authority."""
        # Names of namespaces are told by the pids that this machine knows, so from outside.
        script = _NETWORK.format(a=addresses, inet_pid=inet.pid)
        self.run_outside(["sh", "-ec", script]).check()
        self.set_resolver(*addresses.RESOLVER.addresses[:1])
        authority.trust_on(self)

    def set_resolver(self, *servers: str, options: str = "") -> None:
        """Write /etc/resolv.conf with these name servers and further lines."""
        lines = "".join(f"nameserver {server}\n" for server in servers)
        self.write("/etc/resolv.conf", lines + options)

    def set_hosts(self, entries: dict[str, str]) -> None:
        """Write /etc/hosts with a name for each address given, beside localhost."""
        lines = "".join(f"{address} {name}\n" for name, address in entries.items())
        self.write("/etc/hosts", f"127.0.0.1 localhost {self.name}\n::1 localhost\n{lines}")
