"""Routes to the sinkhole addresses, so that a client which asks for a refused name comes to us.

Without any route the client gets ENETUNREACH and never reads our words. The routes point to
``lo``: should the rules be gone, the kernel drops the packets there as martians.
"""

from typing import Final

from pyroute2 import IPRoute, NetlinkError

from ramnet.errors import KernelRefusedError
from ramnet.ruleset import SINKHOLE4, SINKHOLE6

ROUTE_PROTOCOL: Final = 92
"""rtm_protocol of our routes (ip-route(8) "proto"), by which they are told from others'."""

_EEXIST: Final = 17


def add_sinkhole_routes() -> tuple[bool, bool]:
    """Add the routes in the calling thread's network namespace; say which (IPv4, IPv6) are there.

    Raises:
        KernelRefusedError: not even the IPv4 one can be had.
    """
    with IPRoute() as rtnetlink:
        loopback = rtnetlink.link_lookup(ifname="lo")[0]
        reason4 = _add(rtnetlink, f"{SINKHOLE4}/32", loopback)
        reason6 = _add(rtnetlink, f"{SINKHOLE6}/128", loopback)
    if reason4 is not None:
        raise KernelRefusedError(
            f"cannot add a route to {SINKHOLE4}: {reason4}; is loopback up in the scope's network "
            "namespace (ip link set lo up)?"
        )
    return True, reason6 is None


def restore_sinkhole_routes() -> list[str]:
    """Add again those that are gone; says which."""
    said = []
    with IPRoute() as rtnetlink:
        loopback = rtnetlink.link_lookup(ifname="lo")[0]
        for destination in (f"{SINKHOLE4}/32", f"{SINKHOLE6}/128"):
            try:
                rtnetlink.route("add", dst=destination, oif=loopback, proto=ROUTE_PROTOCOL)
            except NetlinkError:  # it is there, or this namespace has no such family
                continue
            said.append(f"the route to {destination} was removed")
    return said


def remove_sinkhole_routes() -> None:
    """Take away what ``add_sinkhole_routes`` added, and nothing else."""
    with IPRoute() as rtnetlink:
        for destination in (f"{SINKHOLE4}/32", f"{SINKHOLE6}/128"):
            try:
                rtnetlink.route("del", dst=destination, proto=ROUTE_PROTOCOL)
            except NetlinkError:
                continue


def _add(rtnetlink: IPRoute, destination: str, interface: int) -> str | None:
    try:
        rtnetlink.route("add", dst=destination, oif=interface, proto=ROUTE_PROTOCOL)
    except NetlinkError as error:
        return None if error.code == _EEXIST else str(error.args[-1])
    return None
