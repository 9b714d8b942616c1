"""What ramnet promises, in the words of the README: the rules carry them, ``verify`` and the leak
harness show them.
"""

from typing import Final, NamedTuple


class Promise(NamedTuple):
    """One of them.

    Attributes:
        code: for programs; never renamed.
        text: for people.
    """

    code: str
    text: str


DNS: Final = Promise("dns", "DNS to any resolver, over UDP and TCP, is answered by the policy")
CLOSED: Final = Promise(
    "closed",
    "What is not allowed does not leave: TCP, UDP, QUIC, ICMP, other protocols; IPv4 and IPv6",
)
OLD: Final = Promise("old-connections", "Connections older than the rules are cut")
PULL: Final = Promise("allowed-works", "A pull that is allowed works, one that is not says why")
NO_WAY_ROUND: Final = Promise(
    "no-way-round", "A local proxy is no way round, nor is an address or another resolver"
)
GUARD: Final = Promise(
    "last-guard",
    "Nothing that was sent to the gate, to loopback or to a sinkhole leaves by a real interface",
)
OWN: Final = Promise(
    "own-sockets",
    "Only the gate and what is exempt go out: a closed socket's name, an answer or a mark opens "
    "nothing",
)
PROMPT: Final = Promise("prompt", "A refusal is heard at once: a reset or an ICMP error")
INBOUND: Final = Promise("inbound", "Inbound connections and published ports work")
NEAR: Final = Promise("near", "Loopback services and containers are reached as before")
LINK: Final = Promise(
    "link",
    "What a machine needs for itself passes: ICMP errors, neighbour discovery, DHCP, IGMP, MLD, "
    "VXLAN, exemptions",
)
STANDING: Final = Promise("standing", "The rules stand as planned, and nothing beside them")
SEEN: Final = Promise("seen", "What leaves is seen: the capture is not blind")

ALL: Final = (
    DNS, CLOSED, OLD, PULL, NO_WAY_ROUND, GUARD, OWN, PROMPT, INBOUND, NEAR, LINK, STANDING, SEEN,
)  # fmt: skip
