"""The clock moved: nothing revives what had expired, and nothing expires what is good."""

import pytest

from ramnet.daemon.freshness import PATIENCE, Freshness, State

HOUR, DAY = 3600.0, 86400.0
SEEN, EXPIRES = 1000 * DAY, 1007 * DAY


@pytest.mark.parametrize(
    ("now", "heard", "up", "synchronised", "state"),
    [
        (SEEN + DAY, True, 0, True, "fresh"),
        (EXPIRES + HOUR, True, 0, True, "expired"),
        (EXPIRES + 2 * DAY, True, 0, True, "overdue"),
        # 1970, before NTP: as of the time that was seen last.
        (0, False, 0, False, "fresh"),
        # 2099, before NTP: waited for, but not for ever, and not once a server was heard.
        (EXPIRES + 9999 * DAY, False, 0, False, "expired"),
        (EXPIRES + 9999 * DAY, False, PATIENCE, False, "overdue"),
        (EXPIRES + 9999 * DAY, True, 0, False, "overdue"),
        (EXPIRES + 9999 * DAY, False, 0, True, "overdue"),
    ],
)
def test_state(now: float, heard: bool, up: float, synchronised: bool, state: State) -> None:
    fresh = Freshness(EXPIRES, SEEN, heard)
    assert fresh.state(now, DAY, up=up, synchronised=synchronised) == state


def test_a_clock_set_back_revives_nothing() -> None:
    late = Freshness(EXPIRES, EXPIRES + 2 * DAY, heard=False)
    assert late.state(0, DAY, up=PATIENCE, synchronised=True) == "overdue"
