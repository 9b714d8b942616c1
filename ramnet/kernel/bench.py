"""Two network namespaces and a wire: a scope to try things in, and all the world beyond it.

::

    scope   192.0.2.2   2001:db8:1::2      uplink ---- wire   192.0.2.1   2001:db8:1::1   far

``far`` answers for every address of 198.51.100.0/24, 203.0.113.0/24 and 2001:db8:2::/64, and is
nowhere: what gets there got out of the scope and not out of this machine. Neighbours know each
other from the begin, so that no packet waits for another. Both go when they are closed.
"""

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

from pyroute2 import IPRoute, NetlinkError

from ramnet.errors import KernelRefusedError
from ramnet.kernel.gate_room import new_namespace
from ramnet.kernel.netns import Namespace

UPLINK: Final = "uplink"
WIRE: Final = "wire"
OWN4: Final = "192.0.2.2"
OWN6: Final = "2001:db8:1::2"
GATEWAY4: Final = "192.0.2.1"
GATEWAY6: Final = "2001:db8:1::1"
RESOLVER4: Final = "192.0.2.53"
BEYOND: Final = ("198.51.100.0/24", "203.0.113.0/24", "2001:db8:2::/64")
_HARDWARE: Final = {UPLINK: "02:72:61:6d:01:01", WIRE: "02:72:61:6d:01:02"}
_IFA_F_NODAD: Final = 0x02
_NUD_PERMANENT: Final = 0x80
_RT_TABLE_LOCAL: Final = 255
_RT_SCOPE_HOST: Final = 254


class Bench:
    """Made at once; ``close`` takes it away.

    Attributes:
        scope: where the rules are to be.
        far: the other end.
        ipv6: whether this machine has IPv6.
    """

    def __init__(self) -> None:
        """Raises KernelRefusedError where the kernel or the privilege for it is missing."""
        self.scope, self.far = _namespace(), _namespace()
        self.ipv6 = Path("/proc/sys/net/ipv6").is_dir()
        try:
            self.scope.call(_make_wire, self.far.descriptor)
            self.scope.call(_furnish, UPLINK, _with_family(self.ipv6, OWN4, OWN6))
            near = _with_family(self.ipv6, GATEWAY4, GATEWAY6)
            self.far.call(_furnish, WIRE, [*near, f"{RESOLVER4}/24"])
            self.scope.call(_know, UPLINK, WIRE, [*_plain(near), RESOLVER4])
            self.scope.call(_route_out, ipv6=self.ipv6)
            self.far.call(_know, WIRE, UPLINK, _plain(_with_family(self.ipv6, OWN4, OWN6)))
            self.far.call(_answer_for, BEYOND if self.ipv6 else BEYOND[:2])
        except (NetlinkError, OSError) as error:
            self.close()
            raise KernelRefusedError(f"cannot make namespaces to try in: {error}") from None

    @property
    def scope_path(self) -> str:
        """The scope's namespace as ``netns`` of a ``[[scope]]`` names it."""
        return f"/proc/{os.getpid()}/fd/{self.scope.descriptor}"

    def close(self) -> None:
        """Let go of both; with the last process in it a namespace ends."""
        self.scope.close()
        self.far.close()


def _namespace() -> Namespace:
    descriptor = new_namespace()
    try:
        return Namespace(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _with_family(ipv6: bool, ipv4: str, other: str) -> list[str]:
    return [f"{ipv4}/24", *([f"{other}/64"] if ipv6 else [])]


def _plain(addresses: list[str]) -> list[str]:
    return [address.partition("/")[0] for address in addresses]


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _make_wire(far: int) -> None:
    with IPRoute() as rtnetlink:
        rtnetlink.link(
            "add", ifname=UPLINK, kind="veth", address=_HARDWARE[UPLINK],
            peer={"ifname": WIRE, "net_ns_fd": far, "address": _HARDWARE[WIRE]},
        )  # fmt: skip


def _furnish(device: str, addresses: list[str]) -> None:
    with IPRoute() as rtnetlink:
        for name in ("lo", device):
            rtnetlink.link("set", index=rtnetlink.link_lookup(ifname=name)[0], state="up")
        index = rtnetlink.link_lookup(ifname=device)[0]
        for text in addresses:
            address, _, length = text.partition("/")
            flags = {"flags": _IFA_F_NODAD} if ":" in address else {}
            rtnetlink.addr("add", index=index, address=address, prefixlen=int(length), **flags)


def _know(device: str, other: str, addresses: list[str]) -> None:
    with IPRoute() as rtnetlink:
        index = rtnetlink.link_lookup(ifname=device)[0]
        for address in addresses:
            rtnetlink.neigh(
                "replace", dst=address, lladdr=_HARDWARE[other], ifindex=index,
                family=_family(address), state=_NUD_PERMANENT,
            )  # fmt: skip


def _route_out(*, ipv6: bool) -> None:
    with IPRoute() as rtnetlink:
        rtnetlink.route("add", dst="default", gateway=GATEWAY4)
        if ipv6:
            rtnetlink.route("add", dst="default", gateway=GATEWAY6, family=socket.AF_INET6)


def _answer_for(networks: tuple[str, ...]) -> None:
    with IPRoute() as rtnetlink:
        loopback = rtnetlink.link_lookup(ifname="lo")[0]
        for network in networks:
            rtnetlink.route(
                "add", dst=network, oif=loopback, table=_RT_TABLE_LOCAL, type="local",
                family=_family(network), scope=_RT_SCOPE_HOST,
            )  # fmt: skip
    for key in ("ipv4/conf/all/rp_filter", f"ipv4/conf/{WIRE}/rp_filter"):
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys/net", key).write_text("0", encoding="ascii")
