"""What the kernel is to be told: pure functions from a scope's situation to its rules.

Everything here is text and values; ``ramnet.kernel`` applies it. The rules hold no policy.
They say one thing, "all of this scope goes to the gate, the gate itself excepted", and stay
the same however the policy changes.

Tier ``redirect``, one table ``inet ramnet`` in each scope's network namespace::

    output, nat, priority -101 (before Docker's -100)      chain to_gate
        the gate's own sockets, exemptions                  as they are
        UDP and TCP 53, wherever to                         -> resolver
        TCP: loopback and own addresses, nobody listening   as they are
        TCP: everything else                                -> proxy
    output, filter, priority 0, policy drop                chain output
        replies on loopback                                 accept
        the gate to its own listeners                       reset or ICMP
        the gate's own sockets, exemptions                  marked as ours, accept
        connections cut when the rules arrived              reset
        what would leave as the answer to a connection that
        this machine opened to itself                       reset or ICMP
        replies to inbound connections                      accept
        made by the kernel in connections marked as ours    accept
        what was redirected (ct status dnat AND the gate's
        own address and port)                               accept
        loopback, container networks (not TCP) by a bridge  accept
        ICMP errors, neighbour discovery, DHCP, IGMP, MLD,
        VXLAN made by the kernel                            accept
        the rest                                            marked, then reset or ICMP
    input, filter, priority 0                              chain input
        what is known                                       accept
        TCP in mid-stream, unknown                          marked: its next packet out is reset
        UDP, unknown, to an ephemeral port, not by a bridge dropped
    postrouting, filter, priority 300                      chain leaving
        to 127/8, ::1 or a sinkhole by a real interface     dropped
        translated to a container, not by a bridge          dropped

*Order.* Every packet of the namespace meets these chains, so what there is most of comes first,
and what several rules ask of a packet is asked once, before they are gone to. A packet that
containers send or get meets ``leaving`` alone.

A scope that is one cgroup has a table of its own, ``inet ramnet_<scope>`` (``members``): the same
chains behind one question, "is it a socket of the cgroup?", which everybody else's packets answer
with no and meet nothing more. There all TCP to what is near goes to the gate, since a proxy
outside the cgroup is not restricted itself, and old connections on loopback end.

Tier ``anyip``, for kernels without NAT, is described in its module. It is chosen where redirect
lacks anything, leaves out what the kernel has not, and is for whole namespaces.

``trace`` walks a packet through the text of tier redirect in memory; ``grammar`` reads the text,
and the kernel's listing of it as well. ``promises`` are what the rules are for, ``purposes`` says
of each rule for which, and ``differences`` holds the kernel's listing against the plan.

Six things are worth knowing before changing a line.

*Near* connections. A registry on localhost may be denied and a proxy in a container must be no
way round, so TCP to loopback, own addresses and container networks goes to the gate as well; the
gate passes what is not a proxy request. A connection that the gate accepts can no longer be
refused by the kernel, and programs ask "is this port free?" by connecting, so ports of the
namespace's own addresses on which nobody listens are left alone (set ``listening``, kept from
sock_diag). A port published by Docker without its userland proxy has no listener, only a DNAT
rule: its first SYN is dropped on Docker's way and teaches the set ``published``, the
retransmission a second later comes to the gate, and so do all that follow.

*Old connections.* Where no conntrack ran before the table came, conntrack picks a connection up
in mid-stream, and a download whose next packet is inbound would count as an inbound connection.
Such a packet is let in and its connection marked, so that the acknowledgement that answers it is
refused: that resets the local client at once, and nothing leaves. Where conntrack began in the
middle of a connection earlier than we did, it may already count as inbound; the local ports of
connections that were there before the table are therefore known (sets ``old_tcp``, ``old_udp``,
from sock_diag). Connections to services
outside the ephemeral range that were there when the table was first planned stay, each by its
addresses and ports (``Inbound``): a service's port alone is anybody's at another address.

*Closed sockets* go on sending: data that was not sent yet, the last acknowledgement, a reset.
Such packets have no owner, so what the gate and exempted programs open is marked, and kernel-made
packets of those connections pass. A packet of a living socket of somebody else does not.

*Answers* are no proof of an inbound connection: with IPV6_FREEBIND anybody may bind an address of
the far end's and open a connection to ourselves from it. So what is opened here is marked, and its
answers may not leave.

*Refusals* quote what they refuse. With the same IPV6_FREEBIND they would go out to whose address
was borrowed, so what is refused is marked first (``refuse``), and its answer may not leave either.

``hold`` has a table of its own under the same name, so that either takes the other's place in one
transaction. *Tampering*: where kernel and library allow it, the tables are ours alone (``table``).
Elsewhere another tool's flush removes any of this: the supervisor hears of it from the kernel and
puts the table back (``ramnet.daemon.mender``); conntrack may have stood still meanwhile, so the
local ports of what got out are added to ``old_tcp`` and ``old_udp``.

*Kernel-made packets* have no socket with a file behind it, so ``meta skuid`` cannot match them;
that is how VXLAN of Swarm is told from a process that sends to UDP 4789.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramnet.ruleset.names import GATE_UID, SINKHOLE4, SINKHOLE6, TABLE
    from ramnet.ruleset.plan import plan_state, render_table
    from ramnet.ruleset.situation import (
        PORTS,
        Capabilities,
        Exemption,
        GateIdentity,
        Inbound,
        Members,
        Ports,
        Situation,
        member_table,
    )
    from ramnet.ruleset.state import KernelState, Listener, PolicyRule, Route
    from ramnet.ruleset.tier import Tier, choose_tier

__all__ = [
    "GATE_UID",
    "PORTS",
    "SINKHOLE4",
    "SINKHOLE6",
    "TABLE",
    "Capabilities",
    "Exemption",
    "GateIdentity",
    "Inbound",
    "KernelState",
    "Listener",
    "Members",
    "PolicyRule",
    "Ports",
    "Route",
    "Situation",
    "Tier",
    "choose_tier",
    "member_table",
    "plan_state",
    "render_table",
]

_MODULES = ("names", "situation", "tier", "state", "plan")


def __getattr__(name: str) -> Any:
    """Load what is asked for (PEP 562): ``ramnet hold`` must not wait for all of it."""
    if name in __all__:
        for module in (import_module(f"{__name__}.{each}") for each in _MODULES):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
