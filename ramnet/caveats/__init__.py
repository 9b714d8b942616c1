"""What ramnet does not cover on this machine: looked for, never taken from a list.

::

    kernel, dockerd's API, /proc, files        ramnet.toml, policy
                     \\                              /
                      Facts (each part found, or Unseen: why)
                                  |
             table of Caveats, each a function Facts -> Finding
                                  |
              state: active | covered | absent | unknown, and evidence

A caveat is an object (``caveat.Caveat``): code, title, severity, what it means, what to do, where
to read on, and the function that finds it. That function is pure, so every state of a machine can
be written down as a value. What decides:

- ``unknown`` is a result of its own. A part that could not be looked at is ``Unseen`` with its
  reason, and nothing that depends on it alone is ever ``absent``. For ``--fail-on`` it fails.
- Something seen outweighs something unseen: ``active`` with the rest told as "not known".
- Evidence is words from this machine (names of containers, files, pids). Others chose them, so
  they are made printable and short, and only so many are told (``caveat.bounded``).
- What a name alone proves is taken for no more: a program's name is its owner's choice, so a
  known name makes a caveat active and an unknown one leaves it open (``local-forwarders``).

This room is pure: facts in, reports out. Facts about the machine are gathered in
``ramnet.kernel.machine_facts``; the rest, and whom to ask, is in ``ramnet.daemon.caveats``.
"""

from ramnet.caveats.caveat import Caveat, Finding, Report, Severity, State
from ramnet.caveats.facts import Facts, Unseen
from ramnet.caveats.table import CAVEATS, examine

__all__ = [
    "CAVEATS",
    "Caveat",
    "Facts",
    "Finding",
    "Report",
    "Severity",
    "State",
    "Unseen",
    "examine",
]
