"""``ramnet verify``: prove what is promised."""

import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, print_json, printable, require_root

if TYPE_CHECKING:
    from ramnet.verify.report import Outcome

_COLOURS = {"held": "green", "leaked": "red", "broken": "red", "not tested": "yellow"}
_WORST_FIRST = ("leaked", "broken", "not tested", "held")
_NOT_RUNNING = 3


@click.command()
@click.option(
    "--live", is_flag=True, help="Probe this machine's own scopes instead of a replica of them."
)
@click.option("-v", "--verbose", is_flag=True, help="Every probe, not only those that say more.")
@config_option
@json_option
@click.pass_context
def verify(ctx: click.Context, live: bool, verbose: bool, config_path: Path, as_json: bool) -> None:
    """Try every promise from inside every scope. Exit 1 if one is not kept.

    The rules are read from the kernel; the probes are sent in namespaces of their own, under the
    same rules, so that nothing of them is on any network.
    """
    from ramnet.verify.report import Verdict, failed
    from ramnet.verify.verify import verify as walk

    settings = config.load(config_path)
    require_root("ramnet verify")
    for number in (signal.SIGTERM, signal.SIGHUP):  # else nothing that was made is taken away
        signal.signal(number, lambda given, _: sys.exit(128 + given))
    outcomes = list(walk(config_path, settings, on_machine=live))
    if as_json:
        print_json([outcome.document() for outcome in outcomes])
    else:
        _show(outcomes, verbose=verbose)
    idle = any(o.probe == "rules" and o.verdict is Verdict.NOT_TESTED for o in outcomes)
    ctx.exit(1 if failed(outcomes) else _NOT_RUNNING if idle else 0)


def _show(outcomes: "list[Outcome]", *, verbose: bool) -> None:
    """A line for each promise of each scope, then what is to be said of single probes."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("scope", "promise", "verdict", "probes", box=None)
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.scope, outcome.promise.text), []).append(outcome)
    for (scope, promise), group in groups.items():
        verdict = _worst(group)
        shown = f"[{_COLOURS[verdict]}]{verdict}[/]"
        table.add_row(escape(scope), escape(promise), shown, _counted(group))
    console = Console()
    console.print(table)
    for outcome in outcomes:
        verdict = outcome.verdict.value
        if verbose or verdict != "held":
            text = f"{outcome.scope}: {outcome.probe}: {outcome.sent}: {outcome.came}"
            line = f"[{_COLOURS[verdict]}]{verdict}[/] {escape(printable(text))}"
            console.print(line, soft_wrap=True)


def _worst(group: "Iterable[Outcome]") -> str:
    """``held`` where something was tried, and nothing was worse than not tried."""
    found = {outcome.verdict.value for outcome in group}
    if found == {"held", "not tested"}:
        return "held"
    return next(verdict for verdict in _WORST_FIRST if verdict in found)


def _counted(group: "list[Outcome]") -> str:
    verdicts = [outcome.verdict.value for outcome in group]
    return ", ".join(f"{verdicts.count(v)} {v}" for v in _WORST_FIRST if v in verdicts)
