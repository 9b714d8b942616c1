"""``ramnet caveats``: what is not covered here, with evidence from this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, print_json

if TYPE_CHECKING:
    from ramnet.caveats import Report

_COLOURS = {"active": "red", "covered": "cyan", "absent": "green", "unknown": "yellow"}
_SEVERITIES = ("high", "medium", "low")


@click.command()
@click.option(
    "--fail-on",
    type=click.Choice(_SEVERITIES),
    help="Exit 1 if one of this severity or a higher one is active or unknown.",
)
@config_option
@json_option
@click.pass_context
def caveats(ctx: click.Context, fail_on: str | None, config_path: Path, as_json: bool) -> None:
    """What is not covered on this machine, with what was found of it.

    Needs no service. What only root can see is unknown to anybody else.
    """
    from ramnet.caveats import Severity, examine
    from ramnet.daemon.caveats import gather

    reports = examine(gather(config.load(config_path)))
    if as_json:
        print_json([report.document() for report in reports])
    else:
        _show(reports)
    failed = fail_on is not None and any(r.fails(Severity(fail_on)) for r in reports)
    ctx.exit(1 if failed else 0)


def _show(reports: "list[Report]") -> None:
    """All of them as a table, then what is to be known of each that is there or may be."""
    from rich.console import Console
    from rich.table import Table

    table = Table("state", "severity", "caveat", "title", box=None)
    for report in reports:
        caveat, state = report.caveat, report.finding.state.value
        shown = f"[{_COLOURS[state]}]{state}[/]"
        table.add_row(shown, caveat.severity.value, caveat.code, caveat.title)
    Console().print(table)
    for report in reports:
        if report.finding.state.value != "absent":
            click.echo("\n" + "\n".join(_details(report)))


def _details(report: "Report") -> Iterator[str]:
    caveat, finding = report.caveat, report.finding
    yield f"{caveat.code}: {finding.state.value}"
    yield from (f"  - {line}" for line in finding.evidence)
    yield f"  {caveat.meaning}"
    yield f"  Remedy: {caveat.remedy}"
    yield f"  {caveat.documentation}"
