"""Where the facts come from: the running service's status, else a look of our own."""

from pathlib import Path
from typing import Any

import pytest

from ramnet.caveats import State, Unseen, examine
from ramnet.caveats.facts import Facts, ScopeFacts, SignedFacts
from ramnet.config import Config, Scope, Trust
from ramnet.daemon import caveats, policy_facts
from ramnet.errors import NotRunningError, RamnetError
from ramnet.kernel.machine_facts import MachineFacts

AWAY = Unseen("not here")
STATUS: dict[str, Any] = {
    "supervisor": {"pid": 7},
    "policy": {"signed": {"state": "expired", "expires": "today", "on_stale": "deny"}},
    "scopes": [
        {
            "name": "dockerd",
            "gate_pid": 8,
            "cgroup": None,
            "tier": "redirect",
            "scoping": "cgroup2",
            "scoping_reason": "seen",
            "missing_capabilities": ["persist"],
        },
        {"name": "late", "gate_pid": None, "tier": None, "reason": "its namespace is not there"},
    ],
}


def config(folder: Path, policy: str) -> Config:
    return Config(
        policy=policy,
        scopes=[Scope(name="dockerd"), Scope(name="late", netns="/run/none")],
        state_dir=str(folder),
        trust=Trust(root=str(folder / "root.json")),
    )


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """``gather`` with a service that says this, and without a look at the machine."""

    def gather(said: Any, policy: str = "https://policy.example/acme") -> tuple[Facts, set[int]]:
        own: set[int] = set()

        def ask(*_: object) -> Any:
            if isinstance(said, Exception):
                raise said
            return said

        def machine(_: Any, known: list[ScopeFacts], pids: set[int]) -> MachineFacts:
            own.update(pids)
            return MachineFacts("6.1", tuple(known), AWAY, AWAY, AWAY)

        monkeypatch.setattr(caveats, "ask", ask)
        monkeypatch.setattr(caveats, "gather_machine", machine)
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        return caveats.gather(config(tmp_path, policy)), own

    return gather


def test_a_running_service_is_believed(gathered: Any) -> None:
    facts, own = gathered(STATUS)
    assert own == {7, 8}
    one, late = facts.scopes
    assert (one.means, one.tier, one.missing) == ("cgroup2", "redirect", ("persist",))
    assert late.means == Unseen("its namespace is not there")
    assert facts.signed == SignedFacts("expired", "today", "deny")


def test_without_a_service_only_root_can_probe(gathered: Any) -> None:
    facts, own = gathered(NotRunningError("no"))
    reason = Unseen("the service is not running, and only root can probe")
    assert [scope.missing for scope in facts.scopes] == [reason, reason]
    assert facts.signed == Unseen("the service is not running")
    assert own == set()


@pytest.mark.parametrize("said", [[], {}, {"scopes": [{}]}, {"scopes": 1}, RamnetError("broken")])
def test_a_status_that_makes_no_sense_is_no_fact(gathered: Any, said: Any) -> None:
    facts, _ = gathered(said)
    assert all(isinstance(scope.means, Unseen) for scope in facts.scopes)
    assert isinstance(facts.signed, Unseen)


def test_a_signed_policy_that_was_never_fetched_is_unknown(gathered: Any) -> None:
    facts, _ = gathered(STATUS)
    states = {report.caveat.code: report.finding for report in examine(facts)}
    assert states["policy-unrestricted"].state is State.UNKNOWN
    assert "ramnet refresh" in states["policy-unrestricted"].evidence[0]
    assert states["policy-stale"].state is State.ACTIVE


def test_a_large_policy_is_read_and_its_entries_are_not_walked(
    gathered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_facts, "MAX_EXAMINED", 1)
    path = tmp_path / "policy.toml"
    path.write_text('[[registry]]\nhost = "a.example"\n[[registry]]\nhost = "b.example"\n')
    facts, _ = gathered(STATUS, str(path))
    assert facts.policy.entries == 2
    assert isinstance(facts.policy.broad, Unseen)
    assert facts.signed is None
