"""``ramnet top``: what goes on now, once a second."""

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, printable

if TYPE_CHECKING:
    from rich.console import Group

    from ramnet.audit import Event

_NEWEST: Final = 10
_REFUSALS: Final = ("refused", "would-deny")
_COUNTED: Final = {
    "questions": ("resolver", "queries"),
    "connections": ("proxy", "accepted"),
    "refused": ("proxy", "refused"),
    "bytes_up": ("proxy", "bytes_up"),
    "bytes_down": ("proxy", "bytes_down"),
}
"""By what it is called here: part of the status, and counter."""


class Look(NamedTuple):
    """The status at one moment; ``at`` in seconds of any steady clock."""

    at: float
    status: dict[str, Any]


@click.command()
@click.option("-n", "--number", type=click.IntRange(1), help="End after so many looks.")
@click.option(
    "-d",
    "--delay",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@config_option
@json_option
def top(number: int | None, delay: float, config_path: Path, as_json: bool) -> None:
    """What goes on now: rates of each scope, and the newest refusals. Ctrl-C ends it.

    Bytes count when their connection is over. Refusals are in the audit log, which is for root.
    """
    from ramnet.daemon.client import ask

    settings = config.load(config_path)
    looks = _looks(lambda: ask(settings.control_socket, "GET", "/v1/status"), number, delay)
    with (
        contextlib.suppress(KeyboardInterrupt),
        contextlib.closing(_Refusals(settings)) as refusals,
    ):
        if as_json:
            _print(looks, refusals)
        else:
            _paint(looks, refusals)


def _looks(ask: Any, number: int | None, delay: float) -> Iterator[tuple[Look, Look]]:
    """Pairs of looks; of the first both are the same."""
    before = Look(time.monotonic(), ask())
    yield before, before
    while number is None or (number := number - 1):
        time.sleep(delay)
        after = Look(time.monotonic(), ask())
        yield before, after
        before = after


class _Refusals:
    """The newest ones; none where the audit log may not be read."""

    def __init__(self, settings: config.Config) -> None:
        from ramnet.audit import Follower, read_events
        from ramnet.daemon.places import event_logs

        self._newest: deque[Event] = deque(maxlen=_NEWEST)
        self._follower: Follower | None = None
        paths = event_logs(settings)
        try:
            self._follower = Follower(paths)
            self._newest.extend(e for e in read_events(*paths) if e.verdict in _REFUSALS)
            # What was written since the logs were opened was in the past already.
            self._newest.extend(e for e in self._fresh() if e not in self._newest)
        except PermissionError:
            self.close()

    def newest(self) -> "list[Event] | None":
        """The last of them at the end; None where they cannot be read."""
        if self._follower is None:
            return None
        self._newest.extend(self._fresh())
        return list(self._newest)

    def _fresh(self) -> "list[Event]":
        assert self._follower is not None
        return [event for event in self._follower.poll() if event.verdict in _REFUSALS]

    def close(self) -> None:
        """Close the logs."""
        if self._follower is not None:
            self._follower.close()
            self._follower = None


def rates(before: Look, after: Look) -> Iterator[dict[str, Any]]:
    """For each scope what it does in a second; counters of a new gate begin at nothing again."""
    seconds = after.at - before.at
    then = {scope["name"]: scope for scope in before.status["scopes"]}
    for scope in after.status["scopes"]:
        row = {"scope": scope["name"], "open": _counter(scope, "proxy", "open")}
        for key, (part, name) in _COUNTED.items():
            more = _counter(scope, part, name) - _counter(then.get(scope["name"], {}), part, name)
            row[f"{key}_s"] = round(max(more, 0) / seconds, 1) if seconds else 0.0
        yield row


def _counter(scope: dict[str, Any], part: str, name: str) -> int:
    return int(scope.get(part, {}).get(name, 0))


def _print(looks: Iterable[tuple[Look, Look]], refusals: _Refusals) -> None:
    """One JSON object a line."""
    import json

    import msgspec

    for before, after in looks:
        frame = {
            "state": after.status["state"],
            "restriction": after.status.get("restriction"),
            "scopes": list(rates(before, after)),
            "refusals": msgspec.to_builtins(refusals.newest()),
        }
        click.echo(json.dumps(frame))


def _paint(looks: Iterable[tuple[Look, Look]], refusals: _Refusals) -> None:
    """On a terminal in one place, elsewhere one below the other."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not console.is_terminal:
        for before, after in looks:
            console.print(_frame(before, after, refusals.newest()))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for before, after in looks:
            live.update(_frame(before, after, refusals.newest()), refresh=True)


def _frame(before: Look, after: Look, newest: "list[Event] | None") -> "Group":
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from ramnet.audit import describe
    from ramnet.cli.status_table import headline

    scopes = Table(
        "scope", "questions/s", "connections/s", "refused/s", "up B/s", "down B/s", "open", box=None
    )
    for row in rates(before, after):
        shown = [row[f"{key}_s"] for key in _COUNTED]
        scopes.add_row(escape(printable(row["scope"])), *map(str, shown), str(row["open"]))
    if newest is None:
        lines = ["refusals are in the audit log, which is for root"]
    else:
        lines = [f"{printable(event.time)}  {describe(event)}" for event in reversed(newest)]
    return Group(
        headline(after.status), scopes, Text("\nnewest refusals:", style="bold"),
        *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines or ["none"]),
    )  # fmt: skip
