"""Which text a situation asks for."""

from ramnet.ruleset import members, redirect
from ramnet.ruleset.situation import Situation


def render_table(situation: Situation) -> str:
    """The whole desired state of the situation's table, as one transaction."""
    if situation.members is not None:
        return members.render_table(situation, situation.members)
    return redirect.render_table(situation)
