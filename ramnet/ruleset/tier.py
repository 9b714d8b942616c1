"""Which way of interception this kernel allows."""

from enum import Enum

from ramnet.errors import KernelRefusedError
from ramnet.ruleset.situation import Capabilities

_REDIRECT_NEEDS = ("sets", "ct", "nat_redirect", "reject", "counter", "skuid", "ct_mark")


class Tier(Enum):
    """How packets of a scope come to the gate."""

    REDIRECT = "redirect"


def choose_tier(capabilities: Capabilities) -> tuple[Tier, str]:
    """Return the tier and the reason for it.

    Raises:
        KernelRefusedError: no tier can be had; the text names each missing capability.
    """
    missing = [name for name in _REDIRECT_NEEDS if not getattr(capabilities, name)]
    if missing:
        raise KernelRefusedError(
            "this kernel cannot redirect connections: nf_tables lacks " + ", ".join(missing)
        )
    return Tier.REDIRECT, "the kernel redirects (nf_tables NAT) and tracks connections"
