"""Which events a person asked for."""

from datetime import UTC, datetime

import pytest

from ramnet.audit import Event
from ramnet.event_filter import Filter, read_since

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
EVENT = Event(
    time="2026-11-27T11:55:00.000Z", scope="dockerd", kind="tls", name="a.Corp.example",
    verdict="refused",
)  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Filter(), True),
        (Filter(since="2026-11-27T11:55:00.000Z"), True),
        (Filter(since="2026-11-27T11:55:00.001Z"), False),
        (Filter(hosts=["corp.example"]), True),
        (Filter(hosts=["A.corp.example."]), True),
        (Filter(hosts=["orp.example"]), False),
        (Filter(hosts=["*.example"]), True),
        (Filter(hosts=["b.*", "a.*"]), True),
        (Filter(hosts=["?.example"]), False),
        (Filter(hosts=["[a].corp*"]), False),
        (Filter(scopes=["dockerd"], verdicts=["refused", "info"]), True),
        (Filter(scopes=["wsl"]), False),
        (Filter(verdicts=["allowed"]), False),
        (Filter(hosts=["corp.example"], verdicts=["allowed"]), False),
    ],
)
def test_filter(wanted: Filter, matches: bool) -> None:
    assert wanted.matches(EVENT) is matches


def test_an_event_without_a_name_is_no_host() -> None:
    assert not Filter(hosts=["*.example"]).matches(
        Event(scope="service", kind="service", verdict="info")
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", "2026-11-27T11:58:30.000Z"),
        ("10m", "2026-11-27T11:50:00.000Z"),
        ("7d", "2026-11-20T12:00:00.000Z"),
        ("2026-11-27T11:00:00Z", "2026-11-27T11:00:00.000Z"),
        ("2026-11-27T12:00:00.5+01:00", "2026-11-27T11:00:00.500Z"),
    ],
)
def test_since(text: str, expected: str) -> None:
    assert read_since(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "yesterday", "999999d", "0001-01-01"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="neither a span"):
        read_since(text, NOW)
