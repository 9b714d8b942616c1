"""Which way of interception this kernel allows."""

from enum import Enum
from typing import Final

from ramnet.errors import KernelRefusedError
from ramnet.ruleset.situation import Capabilities

_REDIRECT_NEEDS: Final = ("sets", "ct", "nat_redirect", "reject", "counter", "skuid", "ct_mark")
_ANYIP_NEEDS: Final = ("skuid", "policy_routing4", "transparent", "gate_namespace")


class Tier(Enum):
    """How packets of a scope come to the gate."""

    REDIRECT = "redirect"
    ANYIP = "anyip"


def choose_tier(capabilities: Capabilities) -> tuple[Tier, str]:
    """Return the tier and the reason for it.

    Raises:
        KernelRefusedError: no tier can be had; the text names each missing capability.
    """
    no_redirect = [name for name in _REDIRECT_NEEDS if not getattr(capabilities, name)]
    if not no_redirect:
        return Tier.REDIRECT, "the kernel redirects (nf_tables NAT) and tracks connections"
    lacks = f"lacks {', '.join(no_redirect)}"
    no_anyip = [name for name in _ANYIP_NEEDS if not getattr(capabilities, name)]
    if not (capabilities.route_chain or capabilities.route_chain_ip):
        no_anyip.append("route_chain")
    if no_anyip:
        raise KernelRefusedError(
            f"this kernel cannot redirect connections: it {lacks}; "
            f"nor route them to the gate: it lacks {', '.join(no_anyip)}; load the modules for "
            "either, or take another kernel (`ramnet hold` refuses everything meanwhile)"
        )
    return Tier.ANYIP, f"the kernel {lacks}; connections are routed to the gate by a mark"
