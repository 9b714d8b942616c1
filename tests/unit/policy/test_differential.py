"""The compiled index against a matcher that tries every entry in turn."""

from hypothesis import given
from hypothesis import strategies as st

from ramnet.policy import Outcome
from tests.unit.policy import strategies
from tests.unit.policy.build import policy_of
from tests.unit.policy.reference import Line, outcome
from tests.unit.policy.strategies import PORTS

_ports = st.sampled_from([None, 1, *PORTS])


@strategies.examples(400)
@given(
    st.lists(strategies.lines(), max_size=12),
    st.lists(st.tuples(strategies.names(), _ports), min_size=1, max_size=12),
)
def test_the_index_agrees_with_trying_every_entry(
    lines: list[Line], asked: list[tuple[str, int | None]]
) -> None:
    policy = policy_of(lines)
    for name, port in asked:
        verdict = policy.decide(name, port)
        assert verdict.outcome is outcome(lines, name, port, [1, *PORTS]), (name, port)
        assert (verdict.entry is None) is (verdict.outcome is Outcome.UNLISTED)
        allowing = [x for x in lines if x.matches_name(name) and (not port or x.on(port))]
        local = any(line.local and line.allowed for line in allowing)
        assert verdict.local is (verdict.allowed and local)


@strategies.examples(150)
@given(st.lists(strategies.lines(), min_size=1, max_size=8), strategies.names(), _ports)
def test_the_entry_named_is_the_first_that_decides(
    lines: list[Line], name: str, port: int | None
) -> None:
    verdict = policy_of(lines).decide(name, port)
    if port is None or verdict.entry is None:
        return
    first = next(
        x for x in lines if x.matches_name(name) and x.on(port) and x.allowed is verdict.allowed
    )
    text = first.text if first.port is None else f"{first.text}:{first.port}"
    assert verdict.entry == (f"{text} (domain)" if first.domain else text)
