"""By which interfaces packets leave a network namespace."""

import socket

from pyroute2 import IPRoute

from ramnet.ruleset.anyip import DEVICE


def uplinks() -> list[str]:
    """Interfaces of the default routes in the calling thread's network namespace, by name."""
    with IPRoute() as rtnetlink:
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            for route in rtnetlink.get_default_routes(family=family):
                hops = route.get_attr("RTA_MULTIPATH") or ()
                found |= {route.get_attr("RTA_OIF"), *(hop["oif"] for hop in hops)}
        names = dict(socket.if_nameindex())
    return sorted(names[index] for index in found if index in names and names[index] != DEVICE)
