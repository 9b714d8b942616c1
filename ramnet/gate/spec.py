"""What the privileged side tells the gate, as JSON on their channel.

``GateSpec`` comes once, before the listening sockets; ``Surroundings`` comes then and again
whenever the machine changes, since the gate cannot look for itself.
"""

from typing import Literal

import msgspec

from ramnet import config

Interception = Literal["redirect", "anyip"]
"""Who knows where a client was going: the kernel's NAT, or the accepted socket itself, whose own
address that is (and for a datagram, what comes along with it)."""


class GateSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One gate process: which scope it serves and how."""

    scope: str
    resolver: config.Resolver
    proxy: config.Proxy
    denial: config.Denial
    sinkhole4: str | None
    """The address that refused names resolve to, so that the client can be told why."""
    sinkhole6: str | None
    event_log: str
    """Path of the audit log."""
    ca_certificate: str | None
    """PEM path of the boot-time authority; None makes every refused TLS an alert."""
    ca_key: str | None
    interception: Interception = "redirect"
    connection_limit: int = 16384
    """Connections at once; one beyond it is reset as soon as it is accepted."""


class Surroundings(msgspec.Struct, forbid_unknown_fields=True):
    """What is near the scope, as its namespace stands now."""

    addresses: list[str]
    """Every address of the namespace's own, IPv4 and IPv6, without prefix lengths."""
    networks: dict[str, int]
    """Container networks as CIDR, each with the interface index of its bridge."""
    resolv_conf: str
    """Text of the scope's ``resolv.conf``; already the upstream one where it named a stub."""
    gate_ports: list[int]
    """Ports of the gate's own listeners; nothing may be dialled there."""
    containers: dict[str, str] = {}
    """Covered containers: address -> name."""
