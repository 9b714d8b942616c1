"""The README's table "promise by tier": only what tests show, each cell backed by named tests.

Which tests are walked in which tier and scoping is not said here but asked of pytest: a cell says
yes where all of the promise's tests are collected with that name among their parameters.

python -m tests.leaks.promises     writes it between the two marks
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from ramnet.ruleset import promises

BEGIN: Final = "<!-- promises: written by `python -m tests.leaks.promises` -->"
END: Final = "<!-- promises: end -->"
TIERS: Final = ("redirect", "anyip")
SCOPINGS: Final = ("cgroup2", "net_cls")
COLUMNS: Final = (*TIERS, *SCOPINGS)
ROOT: Final = Path(__file__).parents[2]

_POLICY, _MACHINE = "tests/leaks/test_policy.py", "tests/leaks/test_machine.py"
_PROCESSES, _UPSTREAM = "tests/leaks/test_processes.py", "tests/leaks/test_upstream.py"
_CLIENTS, _DOORS = "tests/leaks/test_clients.py", "tests/system/test_leaks.py"
_MEMBERS = "tests/kernel/test_members.py"
_COLLECTED = ("tests/leaks", "tests/system", _MEMBERS)
_DOCKER, _SCOPES = "tests/system/test_docker.py", "tests/system/test_scopes.py"


Walked = dict[str, set[str]]


class Promise(NamedTuple):
    """One row.

    Attributes:
        text: the promise, for a reader.
        tests: `file::function` of each test that shows it.
        scoped: those that show it where the scope is a cgroup, if they are others.
    """

    text: str
    tests: tuple[str, ...]
    scoped: tuple[str, ...] = ()

    def shown_by(self, column: str) -> tuple[str, ...]:
        """The tests of a column."""
        return self.scoped if self.scoped and column in SCOPINGS else self.tests

    def holds_in(self, column: str, walked: Walked) -> bool:
        """Whether all of its tests are walked there."""
        return all(column in walked.get(test, ()) for test in self.shown_by(column))


def walked_tests() -> Walked:
    """Of each test function the parameters that it is collected with. Raises CalledProcessError."""
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *_COLLECTED],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    walked: Walked = {}
    for line in collected.splitlines():
        test, _, parameters = line.rstrip("]").partition("[")
        # A parameter's own name may have a "-" in it; that of a column has none.
        walked.setdefault(test, set()).update(parameters.replace("anyip-least", "").split("-"))
    return walked


PROMISES: Final = (
    Promise(
        promises.DNS.text,
        (f"{_DOORS}::test_another_resolver", f"{_DOORS}::test_dns_over_tls"),
        scoped=(
            f"{_SCOPES}::test_members_are_decided_by_name",
            f"{_POLICY}::test_the_policy_is_reloaded",
        ),
    ),
    Promise(
        promises.CLOSED.text,
        (
            f"{_PROCESSES}::test_start_from_no_rules",
            f"{_DOORS}::test_udp_and_quic",
            f"{_DOORS}::test_a_raw_address",
            f"{_DOORS}::test_ping_is_refused",
        ),
        scoped=(f"{_POLICY}::test_the_policy_is_reloaded",),
    ),
    Promise(
        promises.OLD.text,
        (f"{_PROCESSES}::test_start_from_no_rules",),
        scoped=(f"{_MEMBERS}::test_old_connections_of_members_end_and_of_others_go_on",),
    ),
    Promise(
        promises.PULL.text,
        (f"{_DOCKER}::test_request",),
        scoped=(f"{_SCOPES}::test_dockerd_in_the_scope_and_after_its_restart",),
    ),
    Promise(
        "Gate or supervisor killed or stopped: nothing leaks, it comes back",
        (
            f"{_PROCESSES}::test_the_gate_is_killed",
            f"{_PROCESSES}::test_the_supervisor_is_killed",
            f"{_PROCESSES}::test_the_gate_is_stopped",
            f"{_PROCESSES}::test_the_supervisor_is_stopped",
        ),
    ),
    Promise(
        promises.NO_WAY_ROUND.text,
        (f"{_DOORS}::test_a_local_proxy_opens_nothing", f"{_DOORS}::test_another_resolver"),
        scoped=(
            f"{_SCOPES}::test_an_address_a_resolver_and_a_proxy_open_nothing",
            f"{_MEMBERS}::test_an_old_connection_to_a_local_proxy_ends",
        ),
    ),
    Promise(
        "A policy change breaks no allowed flow and opens nothing",
        (f"{_POLICY}::test_the_policy_is_reloaded",),
    ),
    Promise(
        "A broken policy or configuration opens nothing",
        (
            f"{_POLICY}::test_a_broken_policy_at_reload",
            f"{_POLICY}::test_a_broken_policy_at_start",
            f"{_POLICY}::test_no_policy_at_all_at_start",
            f"{_POLICY}::test_a_broken_configuration",
        ),
    ),
    Promise(
        "A start on a full disk, no descriptors left: nothing leaks, it goes on",
        (
            f"{_MACHINE}::test_a_start_on_a_full_disk",
            f"{_MACHINE}::test_descriptors_run_out",
            f"{_MACHINE}::test_no_descriptors_for_the_next_gate",
        ),
    ),
    Promise(
        "The disk fills up, the clock jumps: nothing leaks, it goes on",
        (f"{_MACHINE}::test_the_disk_fills_up", f"{_MACHINE}::test_the_clock_jumps"),
    ),
    Promise(
        "Upstream DNS dead or lying: no other server is asked, nothing of this machine is dialled",
        (f"{_UPSTREAM}::test_upstream_is_dead", f"{_UPSTREAM}::test_upstream_lies"),
    ),
    Promise(
        "Thousands of connections and slow clients stop nobody else",
        (
            f"{_CLIENTS}::test_five_thousand_connections_at_once",
            f"{_CLIENTS}::test_slow_clients",
        ),
    ),
    Promise(
        "Another tool that flushes the rules: they are back within 100 ms",
        (f"{_MACHINE}::test_another_tool_flushes_the_ruleset",),
    ),
    Promise(
        "Inbound connections and published ports work through every fault of ours",
        (
            f"{_PROCESSES}::test_the_gate_is_killed",
            f"{_PROCESSES}::test_the_supervisor_is_killed",
            f"{_DOCKER}::test_a_published_port",
        ),
        scoped=(
            f"{_PROCESSES}::test_the_gate_is_killed",
            f"{_PROCESSES}::test_the_supervisor_is_killed",
        ),
    ),
)


def table(walked: Walked) -> str:
    """The table in Markdown, marks included."""
    lines = [
        BEGIN,
        "| promise | " + " | ".join(COLUMNS) + " |",
        "|---|" + "---|" * len(COLUMNS),
    ]
    for promise in PROMISES:
        cells = ("yes" if promise.holds_in(each, walked) else "not tested" for each in COLUMNS)
        lines.append(f"| {promise.text} | {' | '.join(cells)} |")
    return "\n".join([*lines, END])


def replaced(text: str) -> str:
    """A text with the table of now between its marks. Raises ValueError without marks."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"there is no {BEGIN} with its end")
    return before + table(walked_tests()) + after


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(replaced(readme.read_text()))
