"""The tiers and scopings that the cases are walked in, and which cases in each."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.lab.service import CONFIG, PROGRAM

#: How a program gets into a scope that is a cgroup.
EXEC: Final = (PROGRAM, "exec", "--config", CONFIG, "--scope", "dockerd", "--")

#: What the rules of a cgroup share with those of a whole namespace: gate, policy and upstream do
#: not know of it. What harms rules, processes and descriptors is walked there too.
_ABOUT_RULES: Final = frozenset({
    "test_five_thousand_connections_at_once",
    "test_slow_clients",
    "test_another_tool_flushes_the_ruleset",
    "test_a_start_on_a_full_disk",
    "test_descriptors_run_out",
    "test_no_descriptors_for_the_next_gate",
    "test_dockerd_is_restarted",
    "test_the_policy_is_reloaded",
    "test_a_broken_policy_at_reload",
    "test_a_broken_policy_at_start",
    "test_no_policy_at_all_at_start",
    "test_a_broken_configuration",
    "test_the_gate_is_killed",
    "test_the_supervisor_is_killed",
    "test_the_gate_is_stopped",
    "test_the_supervisor_is_stopped",
    "test_upstream_is_dead",
    "test_upstream_lies",
})  # fmt: skip
#: Where the kernel refuses by silence and knows no connections: what only the rules decide.
_ABOUT_LEAST: Final = frozenset({
    "test_another_tool_flushes_the_ruleset",
    "test_descriptors_run_out",
    "test_dockerd_is_restarted",
    "test_no_policy_at_all_at_start",
    "test_the_policy_is_reloaded",
    "test_the_gate_is_killed",
    "test_the_supervisor_is_killed",
    "test_the_gate_is_stopped",
})  # fmt: skip
#: All that tier anyip can do without; nobody's kernel is known to lack more.
_LEAST: Final = (
    "nat_redirect,sets,dynamic_sets,ct,ct_mark,reject,counter,socket_cgroupv2,route_chain,"
    "policy_routing6"
)
#: Stands in `scope` for a cgroup that goes with the lab.
CGROUP: Final = "{cgroup}"


class Way(NamedTuple):
    """How the service enforces.

    Attributes:
        tier: what `ramnet status` must call it.
        scoping: the same.
        without: capabilities taken away (RAMNET_WITHOUT), so that the kernel seems to lack them.
        scope: further keys of the scope's table in ramnet.toml.
        enter: a command prefix that puts a program into the scope.
        only: the tests that are walked in it; None is all.
    """

    name: str
    tier: str
    scoping: str = "namespace"
    without: str = ""
    scope: str = ""
    enter: tuple[str, ...] = ()
    only: frozenset[str] | None = None

    def walks(self, test: str) -> bool:
        """Whether a test function is walked in this way."""
        return self.only is None or test in self.only


_IN_CGROUP: Final = f'cgroup = "{CGROUP}"'

WAYS = (
    Way("redirect", tier="redirect"),
    Way("anyip", tier="anyip", without="nat_redirect"),
    Way("cgroup2", tier="redirect", scoping="cgroup2", scope=_IN_CGROUP, enter=EXEC,
        only=_ABOUT_RULES),
    Way("net_cls", tier="redirect", scoping="net_cls", without="socket_cgroupv2",
        scope=_IN_CGROUP, enter=EXEC, only=_ABOUT_RULES),
    Way("anyip-least", tier="anyip", without=_LEAST, only=_ABOUT_LEAST),
)  # fmt: skip
