"""``ramnet events`` and ``suggest``: what the audit log holds, and what follows from it."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, print_json, printable
from ramnet.errors import KernelRefusedError

if TYPE_CHECKING:
    from ramnet.audit import Event
    from ramnet.event_filter import Filter
    from ramnet.kernel.inotify import Changes
    from ramnet.suggest import Suggestion

_F = TypeVar("_F", bound=Callable[..., object])
_OVERLAP = 4096
"""Events of the past that are known again where following begins."""
_VERDICTS = ("allowed", "refused", "would-deny", "info")
_DENIED = ("refused", "would-deny")


def _since(_: click.Context, __: click.Parameter, text: str | None) -> str:
    if text is None:
        return ""
    from datetime import UTC, datetime

    from ramnet.event_filter import read_since

    try:
        return read_since(text, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _since_option(command: _F) -> _F:
    words = "Not before: a span (10m, 2h, 7d) ago, or a time (2026-11-27T14:05:00Z)."
    return click.option("--since", callback=_since, metavar="WHEN", help=words)(command)


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--denied", is_flag=True, help="Only what was refused, or would be.")
@click.option(
    "--verdict",
    "verdicts",
    multiple=True,
    type=click.Choice(_VERDICTS),
    help="Only these; may be given again.",
)
@click.option("--host", "hosts", multiple=True, help="A name and those below it, or *.a.example.")
@click.option("--scope", "scopes", multiple=True, help="Only this scope's; may be given again.")
@_since_option
@config_option
@json_option
def events(
    follow: bool,
    denied: bool,
    verdicts: tuple[str, ...],
    hosts: tuple[str, ...],
    scopes: tuple[str, ...],
    since: str,
    config_path: Path,
    as_json: bool,
) -> None:
    """The audit log: what was asked, what was answered, and by which entry."""
    from ramnet.audit import Follower, read_events
    from ramnet.daemon.places import event_logs
    from ramnet.event_filter import Filter

    settings = config.load(config_path)
    _check_scopes(settings, scopes)
    wanted = Filter(since, hosts, scopes, (*verdicts, *(_DENIED if denied else ())))
    paths = event_logs(settings)
    with readable(), contextlib.ExitStack() as stack:
        # Opened before the past is read, so that nothing falls between the two.
        # The logs first: they say who may not read them.
        follower = stack.enter_context(contextlib.closing(Follower(paths if follow else ())))
        changes = stack.enter_context(contextlib.closing(watch(paths))) if follow else None
        past: deque[Event] = deque(maxlen=_OVERLAP)
        _print_events(_noted(read_events(*paths), past), wanted, as_json)
        if changes is not None:
            with contextlib.suppress(KeyboardInterrupt):
                # What was written since the logs were opened was in the past already.
                fresh = [event for event in follower.poll() if event not in past]
                _print_events(fresh, wanted, as_json)
                while changes.wait():
                    _print_events(follower.poll(), wanted, as_json)


def _noted(found: "Iterable[Event]", last: "deque[Event]") -> "Iterator[Event]":
    for event in found:
        last.append(event)
        yield event


def watch(paths: Iterable[Path]) -> "Changes":
    """What wakes when one of these logs grows, is rotated or comes to be."""
    from ramnet.kernel.inotify import Changes

    return Changes(path.parent for path in paths)


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Say of a log that may not be read who may."""
    try:
        yield
    except PermissionError as error:
        raise KernelRefusedError(
            f"cannot read {error.filename}: {error.strerror}; the audit log is for root"
        ) from error


def _check_scopes(settings: config.Config, scopes: Iterable[str]) -> None:
    known = [scope.name for scope in settings.scopes] + ["service"]
    for name in scopes:
        if name not in known:
            words = f"there is no scope {printable(name)}; known: {', '.join(known)}"
            raise click.UsageError(words)


def _print_events(found: "Iterable[Event]", wanted: "Filter", as_json: bool) -> None:
    import msgspec

    from ramnet.audit import describe

    for event in filter(wanted.matches, found):
        line = (
            msgspec.json.encode(event).decode() if as_json else f"{event.time}  {describe(event)}"
        )
        click.echo(line)


@click.command()
@_since_option
@config_option
@json_option
@click.pass_context
def suggest(ctx: click.Context, since: str, config_path: Path, as_json: bool) -> None:
    """Hosts that were refused when an allowed registry sent clients there. Exit 1 if there are.

    With what shows it, and the line for policy.toml. What a client says of who sent it is its
    own word: look at a host before you allow it. A request that could not be read, by CONNECT or
    by a client that does not trust ramnet's CA, says nothing: there, docker's own message and
    `ramnet events --denied` name the host.
    """
    import msgspec

    from ramnet.audit import read_events
    from ramnet.cli.policy import own_policy
    from ramnet.daemon.places import event_logs
    from ramnet.event_filter import Filter
    from ramnet.suggest import suggest as find

    settings = config.load(config_path)
    policy = own_policy(settings)
    with readable():
        found = find(filter(Filter(since).matches, read_events(*event_logs(settings))), policy)
    if as_json:
        print_json(msgspec.to_builtins(found))
    elif found:
        click.echo("\n\n".join("\n".join(map(printable, _suggestion(one))) for one in found))
    else:
        click.echo("no allowed registry was seen to send clients to a host that is refused")
    ctx.exit(1 if found else 0)


def _suggestion(one: "Suggestion") -> Iterator[str]:
    place = one.host if one.port == 443 else f"{one.host}:{one.port}"
    yield f"{', '.join(one.registries)} redirected to {place}, which is not allowed"
    last = "" if one.first == one.last else f" to {one.last}"
    yield f"  refused after it: {one.refusals}, {one.first}{last}"
    yield "  evidence: the refused requests name it as their sender (Referer)"
    if one.shared:
        yield "  beware: that host is shared by all tenants of its cloud"
    yield "  add to the policy" + (":" if one.preset is None else ", with all the preset has:")
    yield from (f"    {line}" for line in one.line.splitlines())
