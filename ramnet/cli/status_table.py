"""``ramnet status`` for people."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ramnet.cli.common import printable

_COLOURS = {
    "enforcing": "green",
    "starting": "yellow",
    "refusing": "red",
    "auditing": "black on yellow",
}

_LOUD = {
    "nothing": "[bold white on red]NOTHING IS RESTRICTED: every registry may be reached[/]\n",
    "recorded": "[bold black on yellow]NOT ENFORCED: everything passes and is recorded[/]\n",
}


def show(document: dict[str, Any]) -> None:
    """Print the document of ``GET /v1/status``."""
    console = Console()
    console.print(headline(document))
    console.print(_grid(_policy_rows(document["policy"])))
    session = document.get("session")
    if session and (session["enforce"] or session["subject"]):
        who = session["subject"] or "nobody"
        console.print(f"session  {_text(who)}, until {_text(session['expires'] or '-')}")
    console.print(_scopes(document["scopes"]))
    for exempt in document["exempt"]:
        parts = (f"{key}={value}" for key, value in exempt.items() if value is not None)
        console.print(f"exempt  {_text(' '.join(parts))}")
    for warning in document["warnings"]:
        console.print(f"[yellow]warning[/] {_text(warning)}")


def headline(document: dict[str, Any]) -> str:
    """State, version, process, as rich's markup; above it that it keeps nobody from anything."""
    state, supervisor = document["state"], document["supervisor"]
    loud = _LOUD.get(document.get("restriction", ""), "")
    return (
        f"{loud}"
        f"[bold {_COLOURS.get(state, 'red')}]{_text(state)}[/]  ramnet {_text(document['version'])}"
        f"  pid {supervisor['pid']}, up {_duration(supervisor['uptime_s'])}"
    )


def _policy_rows(policy: dict[str, Any]) -> Iterable[tuple[str, str]]:
    if policy["source"] is None:
        yield "policy", "[red]none: everything is refused[/]"
    else:
        yield (
            "policy",
            (
                f"version {policy['version']} of {_text(policy['organization'])}, "
                f"{policy['entries']} entries, in force for {_duration(policy['age_s'])}"
            ),
        )
        yield "from", _text(policy["source"])
    if signed := policy.get("signed"):
        colour = {"fresh": "green", "expired": "yellow"}.get(signed["state"], "red")
        told = f"heard {signed['seen']}, expires {signed['expires']}" if signed["seen"] else ""
        yield "signed", f"[{colour}]{_text(signed['state'])}[/] {_text(told)}"
    if not policy["restricts"]:
        yield "", "[bold white on red]it restricts nothing (enabled = false)[/]"
    if not policy.get("enforced", True):
        yield (
            "",
            "[bold black on yellow]NOT ENFORCED: everything passes (enforce = false)[/]",
        )
    for key in ("error", "last_good_error"):
        if policy[key]:
            yield key.replace("_", " "), f"[red]{_text(policy[key])}[/]"


def _scopes(scopes: list[dict[str, Any]]) -> Table:
    table = Table("scope", "netns", "tier", "gate", "rules", "refused packets", box=None)
    for scope in scopes:
        rules = scope["rules"]
        table.add_row(
            _text(scope["name"]),
            _place(scope),
            _text(scope["tier"] or "-"),
            _gate(scope),
            "intact" if rules["intact"] and not rules["problem"] else "[red]not intact[/]",
            ", ".join(f"{kind} {n}" for kind, n in (rules["refused_packets"] or {}).items()),
        )
    return table


def _place(scope: dict[str, Any]) -> str:
    if scope.get("scoping") in (None, "namespace"):
        return _text(scope["netns"])
    return _text(f"{scope['netns']}, {scope['cgroup']} by {scope['scoping']}")


def _gate(scope: dict[str, Any]) -> str:
    if scope["gate_pid"]:
        return f"pid {scope['gate_pid']}, {scope['restarts']} restarts"
    return "waiting" if scope.get("state") == "waiting" else "[red]down[/]"


def _grid(rows: Iterable[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*row)
    return grid


def _duration(seconds: float | None) -> str:
    whole = int(seconds or 0)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def _text(value: object) -> str:
    return escape(printable(value))
