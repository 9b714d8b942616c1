"""``ramnet check``, ``events`` and ``rules``."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, print_json, printable, require_root
from ramnet.errors import KernelRefusedError

if TYPE_CHECKING:
    from ramnet.audit import Event

_POLL = 0.2
"""Seconds between two looks for new events."""


@click.command()
@click.argument("hosts", metavar="HOST[:PORT]...", nargs=-1, required=True)
@config_option
@json_option
@click.pass_context
def check(ctx: click.Context, hosts: tuple[str, ...], config_path: Path, as_json: bool) -> None:
    """Would HOST be allowed, and by which entry? Exit 1 unless all are.

    Without a port the question is whether any port of it is allowed. The service is not asked.
    """
    from ramnet.cli.policy import own_policy
    from ramnet.policy import InvalidNameError, normalise, split_host_port

    policy = own_policy(config.load(config_path))
    answers: list[dict[str, Any]] = []
    for text in hosts:
        try:
            host, port = split_host_port(text)
            name = normalise(host)
        except InvalidNameError as error:
            raise click.UsageError(printable(error)) from error
        verdict = policy.decide(name, port)
        answers.append(
            {
                "host": name,
                "port": port,
                "allowed": verdict.allowed,
                "outcome": verdict.outcome.value,
                "entry": verdict.entry,
                "local": verdict.local,
                "enforced": policy.enforced,
            }
        )
    if as_json:
        print_json(answers)
    else:
        for text, answer in zip(hosts, answers, strict=True):
            click.echo(f"{printable(text)}: {_describe(answer)}")
    ctx.exit(0 if all(answer["allowed"] for answer in answers) else 1)


def _describe(answer: dict[str, Any]) -> str:
    refused = "refused" if answer["enforced"] else "passes, and would be refused"
    audit = "" if answer["enforced"] else "; the policy says enforce = false"
    if answer["outcome"] == "unlisted":
        return f"{refused} (no entry allows it{audit})"
    if answer["allowed"]:
        return f"allowed by {answer['entry']}"
    return f"{refused} by {answer['entry']}{audit}"


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--denied", is_flag=True, help="Only what was refused, or would be.")
@config_option
@json_option
def events(follow: bool, denied: bool, config_path: Path, as_json: bool) -> None:
    """The audit log: what was asked, what was answered, and by which entry."""
    from ramnet.audit import Follower, read_events
    from ramnet.daemon.places import event_logs

    paths = event_logs(config.load(config_path))
    try:
        # Opened before the past is read, so that nothing falls between the two.
        with contextlib.closing(Follower(paths if follow else ())) as follower:
            _print_events(read_events(*paths), denied, as_json)
            while follow:
                time.sleep(_POLL)
                _print_events(follower.poll(), denied, as_json)
    except PermissionError as error:
        raise KernelRefusedError(f"cannot read {error.filename}: {error.strerror}") from error


def _print_events(found: "Iterable[Event]", denied: bool, as_json: bool) -> None:
    import msgspec

    for event in found:
        if denied and event.verdict not in ("refused", "would-deny"):
            continue
        click.echo(msgspec.json.encode(event).decode() if as_json else _line(event))


def _line(event: "Event") -> str:
    return printable("  ".join(_columns(event)))


def _columns(event: "Event") -> Iterator[str]:
    yield event.time
    yield f"{event.scope:<10} {event.verdict:<10} {event.kind:<7}"
    if event.name is not None:
        yield event.name if event.port is None else f"{event.name}:{event.port}"
    if event.original_destination is not None:
        yield f"meant for {event.original_destination}"
    if event.entry is not None:
        yield f"by {event.entry}"
    if event.bytes_up or event.bytes_down:
        yield f"{event.bytes_up} up, {event.bytes_down} down"
    if event.reason is not None:
        yield event.reason


@click.command()
@config_option
@json_option
def rules(config_path: Path, as_json: bool) -> None:
    """The exact kernel state that would be applied, without applying it."""
    from ramnet.cli.service import enforcer_plan

    settings = config.load(config_path)
    require_root("ramnet rules, which probes what this kernel can do,")
    plans = enforcer_plan(settings)
    if as_json:
        print_json([{"scope": name, "rules": text} for name, text in plans.items()])
        return
    for name, text in plans.items():
        click.echo(f"# scope {name}\n{text}", nl=not text.endswith("\n"))
