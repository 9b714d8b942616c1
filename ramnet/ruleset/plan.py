"""Which state of the kernel a situation asks for."""

from ramnet.ruleset import anyip, members, redirect
from ramnet.ruleset.names import TABLE
from ramnet.ruleset.situation import Situation
from ramnet.ruleset.state import KernelState
from ramnet.ruleset.tier import Tier, choose_tier


def plan_state(situation: Situation) -> KernelState:
    """The whole desired state, by the best tier that the situation's capabilities allow.

    Raises:
        KernelRefusedError: they allow none.
    """
    tier, _ = choose_tier(situation.capabilities)
    if tier is Tier.ANYIP:
        return anyip.plan(situation)
    if situation.members is not None:
        text = members.render_table(situation, situation.members)
        return KernelState((("inet", situation.members.table),), text)
    return KernelState((("inet", TABLE),), redirect.render_table(situation))


def render_table(situation: Situation) -> str:
    """The rules of ``plan_state``: text that libnftables takes in one transaction."""
    return plan_state(situation).text
