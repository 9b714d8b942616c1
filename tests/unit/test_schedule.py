"""When the policy server is asked again: never later than promised, and never all at once."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.daemon.schedule import FIRST_RETRY, Schedule

INTERVALS = st.floats(10, 86400)
"""What [trust] refresh may be, in seconds."""


def waits(interval: float, failures: int, *, count: int = 200) -> list[float]:
    schedule = Schedule(interval, random.Random(7).uniform)
    schedule.failures = failures
    return [schedule.wait() for _ in range(count)]


@given(INTERVALS, st.integers(0, 10**6))
def test_it_is_never_later_than_the_interval(interval: float, failures: int) -> None:
    assert all(0 < wait <= interval for wait in waits(interval, failures, count=5))


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 5), (2, 10), (3, 20), (4, 40), (9, 1280), (11, 3600), (99, 3600)]
)
def test_each_failure_doubles_it_up_to_the_interval(failures: int, longest: float) -> None:
    found = waits(3600, failures)
    assert longest / 2 <= min(found)
    assert 0.95 * longest < max(found) <= longest


def test_success_begins_anew() -> None:
    schedule = Schedule(3600)
    schedule.failures = 7
    assert schedule.wait() <= FIRST_RETRY * 2**6
    schedule.failures = 0
    assert schedule.wait() >= 0.9 * 3600


@pytest.mark.parametrize(("failures", "share"), [(0, 0.1), (1, 0.5), (5, 0.5)])
def test_machines_that_ask_together_are_spread(failures: int, share: float) -> None:
    """In no tenth of the span is there more than twice its part of a fleet."""
    found = waits(3600, failures, count=10_000)
    longest = 3600 if failures == 0 else FIRST_RETRY * 2.0 ** (failures - 1)
    first, span = longest * (1 - share), longest * share
    tenths = [sum(first + span * n / 10 <= w <= first + span * (n + 1) / 10 for w in found)
              for n in range(10)]  # fmt: skip
    assert sum(tenths) >= 10_000
    assert max(tenths) < 2000
