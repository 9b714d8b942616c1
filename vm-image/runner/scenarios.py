"""The boots there are; what is checked in each stands in ``guest/scenarios.py``."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from runner import lab
from runner.machine import Boot, Machine

LIMIT: Final = 900.0
"""Seconds for one boot: an emulated machine on a busy one."""
LONGEST_CUT: Final = 4.0

Verdict = Literal["ok", "FAIL", "note"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One machine.

    Attributes:
        name: as the guest knows it.
        line: further words for the kernel.
        disk: megabytes of a disk that outlives a cut; 0 for none.
        distribution: the disk is that of a WSL distribution (``make wsl-image``).
        lay: fills a directory that is laid over the root.
        cuts: how often its power is taken away.
        asked_for: is not played unless it is named.
        suites: those that have what it needs; None for all.
    """

    name: str
    line: str = ""
    disk: int = 0
    distribution: bool = False
    lay: Callable[[Path], None] | None = None
    cuts: int = 0
    asked_for: bool = False
    suites: frozenset[str] | None = None


_OUTSIDE: Final = " ".join(
    f"systemd.mask={unit}"
    for unit in (
        "ramnet-hold.service",
        "ramnet.service",
        "ramnet-ca.service",
        "containerd.service",
        "docker.socket",
        "docker.service",
        "vm-prober.service",
    )
)
"""The machine is WSL's own: ramnet and dockerd are in a distribution, which starts when the network
is there already."""

UNABLE: Final = "this kernel cannot enforce; everything is refused by routing"
"""What the console says where nothing can be enforced."""

SCENARIOS: Final = (
    Scenario("boot"),
    Scenario("start", asked_for=True),
    Scenario("power", "ramnet.disk=vda", disk=2048, cuts=2),
    Scenario("readonly", "ramnet.ro"),
    Scenario("session", lay=lab.sign_in_first),
    Scenario("plain", "ramnet.ro", lay=lab.other_init),
    # Later ones need insserv, which systemd-sysv does not bear.
    Scenario("openrc", lay=lab.other_init, suites=frozenset({"bookworm"})),
    Scenario("unable", "modprobe.blacklist=nf_tables,nfnetlink"),
    Scenario("control", "systemd.mask=ramnet-hold.service systemd.mask=ramnet.service"),
    Scenario("wsl", _OUTSIDE, disk=2048, distribution=True, asked_for=True),
    Scenario("wsl-boot", _OUTSIDE, disk=2048, distribution=True, asked_for=True),
)


@dataclass(slots=True)
class Outcome:
    """What the checks of one machine said, and its console, of all its boots."""

    scenario: Scenario
    lines: list[tuple[Verdict, str, str]] = field(default_factory=list)
    console: str = ""

    @property
    def passed(self) -> bool:
        """Every check printed ok, and there was one, or the kernel cannot play it and said so."""
        verdicts = [verdict for verdict, _, _ in self.lines]
        return "FAIL" not in verdicts and ("ok" in verdicts or bool(self.note("skipped")))

    def note(self, name: str) -> str:
        """The value of a note; empty where there is none."""
        return next((rest for verdict, n, rest in self.lines if (verdict, n) == ("note", name)), "")


Tell = Callable[[str], None]


def play(
    scenario: Scenario, boot: Boot, accelerator: str, tell: Tell, cut: float | None = None
) -> Outcome:
    """Boot until the guest says ``end``, as often as its power is cut meanwhile.

    ``cut``: seconds after the guest's word; None is any time up to ``LONGEST_CUT``.
    """
    outcome = Outcome(scenario)
    for number in range(scenario.cuts + 1):
        machine = Machine(
            boot._replace(directory=boot.directory / f"{scenario.name}-{number}"), accelerator
        )
        try:
            ending = _listen(machine, outcome, tell, cut)
        finally:
            machine.cut()
        outcome.console += machine.console.read_text(errors="replace")
        if ending == "end":
            break
        if ending != "cut" or number == scenario.cuts:
            _add(outcome, tell, "FAIL", "came-to-an-end", ending)
            break
    if _played(outcome) == "unable":
        verdict: Verdict = "ok" if UNABLE in outcome.console else "FAIL"
        _add(outcome, tell, verdict, "console-says-why", "")
    return outcome


def _played(outcome: Outcome) -> str:
    """What the guest has played, by the kernel that it found; empty for nothing."""
    if outcome.note("skipped"):
        return ""
    return outcome.note("instead").partition(":")[0] or outcome.scenario.name


def _listen(machine: Machine, outcome: Outcome, tell: Tell, cut: float | None) -> str:
    """``end``, ``cut``, or what went wrong."""
    try:
        for line in machine.lines(LIMIT):
            word, _, rest = line.partition(" ")
            name, _, rest = rest.partition(" ")
            if word in ("ok", "FAIL", "note"):
                _add(outcome, tell, word, name, rest)
            elif word == "cut":
                pause = random.uniform(0, LONGEST_CUT) if cut is None else cut  # noqa: S311
                tell(f"cut {name} after {pause:.2f} s")
                time.sleep(pause)
                return "cut"
            elif word == "end":
                return "end"
    except TimeoutError as error:
        return str(error)
    return "went off without a word"


def _add(outcome: Outcome, tell: Tell, verdict: str, name: str, rest: str) -> None:
    known: Verdict = "ok" if verdict == "ok" else "note" if verdict == "note" else "FAIL"
    outcome.lines.append((known, name, rest))
    tell(f"{verdict} {name} {rest}".rstrip())
