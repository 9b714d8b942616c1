"""Runs the scenario that the kernel command line names; the last line is ``end``."""

import facts
from choice import choose
from report import say
from scenarios import SCENARIOS


def main() -> None:
    """Everything the runner reads comes from here."""
    name = facts.given("vm.scenario")
    try:
        if played := choose(name):
            SCENARIOS[played]()
    except Exception as error:
        say("FAIL", f"scenario-{name}", repr(error))
    say("end", name)


if __name__ == "__main__":
    main()
