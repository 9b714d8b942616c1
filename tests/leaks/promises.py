"""The README's table "promise by tier": only what tests show, each cell backed by named tests.

python -m tests.leaks.promises     writes it between the two marks
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from tests.leaks.ways import WAYS

BEGIN: Final = "<!-- promises: written by `python -m tests.leaks.promises` -->"
END: Final = "<!-- promises: end -->"
TIERS: Final = ("redirect", "anyip")
#: The tiers in which tests outside tests/leaks are walked.
ELSEWHERE: Final = frozenset({"redirect"})
ROOT: Final = Path(__file__).parents[2]

_POLICY, _MACHINE = "tests/leaks/test_policy.py", "tests/leaks/test_machine.py"
_PROCESSES, _UPSTREAM = "tests/leaks/test_processes.py", "tests/leaks/test_upstream.py"
_CLIENTS, _DOORS = "tests/leaks/test_clients.py", "tests/system/test_leaks.py"
_DOCKER = "tests/system/test_docker.py"


class Promise(NamedTuple):
    """One row.

    Attributes:
        text: the promise, for a reader.
        tests: `file::function` of each test that shows it.
    """

    text: str
    tests: tuple[str, ...]

    def holds_in(self, tier: str) -> bool:
        """Whether all of its tests are walked in this tier."""
        walked = {way.tier for way in WAYS}
        return all(
            tier in (walked if test.startswith("tests/leaks/") else ELSEWHERE)
            for test in self.tests
        )


PROMISES: Final = (
    Promise(
        "DNS to any resolver, over UDP and TCP, is answered by the policy",
        (f"{_DOORS}::test_another_resolver", f"{_DOORS}::test_dns_over_tls"),
    ),
    Promise(
        "What is not allowed does not leave: TCP, UDP, QUIC, ICMP, other protocols; IPv4 and IPv6",
        (
            f"{_PROCESSES}::test_start_from_no_rules",
            f"{_DOORS}::test_udp_and_quic",
            f"{_DOORS}::test_a_raw_address",
            f"{_DOORS}::test_ping_is_refused",
        ),
    ),
    Promise(
        "Connections older than the rules are cut",
        (f"{_PROCESSES}::test_start_from_no_rules",),
    ),
    Promise(
        "A pull that is allowed works, one that is not says why",
        (f"{_DOCKER}::test_request",),
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
        "Disk full, no descriptors, clock jumps: nothing leaks, it recovers",
        (
            f"{_MACHINE}::test_the_disk_fills_up",
            f"{_MACHINE}::test_a_start_on_a_full_disk",
            f"{_MACHINE}::test_descriptors_run_out",
            f"{_MACHINE}::test_no_descriptors_for_the_next_gate",
            f"{_MACHINE}::test_the_clock_jumps",
        ),
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
        "Another tool that deletes the rules: they are set again",
        (f"{_MACHINE}::test_another_tool_flushes_the_ruleset",),
    ),
    Promise(
        "Inbound connections and published ports work through every fault of ours",
        (
            f"{_PROCESSES}::test_the_gate_is_killed",
            f"{_PROCESSES}::test_the_supervisor_is_killed",
            f"{_DOCKER}::test_a_published_port",
        ),
    ),
)


def table() -> str:
    """The table in Markdown, marks included."""
    lines = [
        BEGIN,
        "| promise | " + " | ".join(TIERS) + " |",
        "|---|" + "---|" * len(TIERS),
    ]
    for promise in PROMISES:
        cells = ("yes" if promise.holds_in(tier) else "not tested" for tier in TIERS)
        lines.append(f"| {promise.text} | {' | '.join(cells)} |")
    return "\n".join([*lines, END])


def replaced(text: str) -> str:
    """A text with the table of now between its marks. Raises ValueError without marks."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"there is no {BEGIN} with its end")
    return before + table() + after


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(replaced(readme.read_text()))
