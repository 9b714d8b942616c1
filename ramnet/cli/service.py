"""``ramnet run``, ``down``, ``status`` and ``exec``."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, print_json, printable, require_root
from ramnet.errors import (
    ConfigError,
    KernelRefusedError,
    NamespaceAbsentError,
    NotRunningError,
    RamnetError,
)

if TYPE_CHECKING:
    from ramnet.daemon.guarded_scope import Enforcing
    from ramnet.kernel.hold import HeldScope

FETCH_LIMIT = 120.0
"""Seconds for what waits for a policy server."""


@click.command()
@config_option
def run(config_path: Path) -> None:
    """Enforce, in the foreground, until SIGTERM; the rules stay and refuse everything then.

    systemd gets READY=1 once every scope that is there has its rules and its gate a decision, be it
    that nothing passes (no policy, nobody signed in); STATUS= is the state as in `ramnet status`.
    """
    import asyncio
    import sys

    from ramnet.daemon.scope_life import Hold
    from ramnet.daemon.service import Means, Service
    from ramnet.gate.denial.authority import create_authority
    from ramnet.kernel.hold import release

    settings = config.load(config_path)
    require_root("ramnet run")

    async def serve() -> None:
        means = Means(
            _enforcer,
            create_authority,
            release_own_hold=_release_own_hold,
            hold_the_bare=partial(_hold_the_bare, settings),
            hold=Hold(_hold_bare, lambda scope: release(_held(scope))),
            caveats_command=(
                *(sys.executable, "-I", "-m", "ramnet.entry", "caveats", "--json"),
                *("--config", str(config_path.absolute())),
            ),
        )
        await Service(settings, means).run()

    asyncio.run(serve())


@click.command()
@config_option
@click.pass_context
def hold(ctx: click.Context, config_path: Path) -> None:
    """Refuse everything of every scope until `ramnet run` takes over; for early boot."""
    from ramnet.early_hold import run_hold

    ctx.exit(run_hold(config_path))


@click.command()
@config_option
def down(config_path: Path) -> None:
    """Take every rule away; a running service is asked to stop first."""
    from ramnet.daemon.client import ask

    settings = config.load(config_path)
    require_root("ramnet down")
    try:
        ask(settings.control_socket, "POST", "/v1/down")
    except NotRunningError:
        from ramnet.kernel.uninterrupted import uninterrupted

        with uninterrupted():
            _remove(settings)
    click.echo("down: nothing is restricted")


@click.command()
@config_option
@json_option
def refresh(config_path: Path, as_json: bool) -> None:
    """Fetch the policy, or read its file, and have it in force now."""
    words = "version {version} of {organization} is in force"
    _order(config_path, "/v1/refresh", words, as_json)


@click.command("log-level")
@click.argument("level", type=click.Choice(["info", "debug"]), required=False)
@config_option
@json_option
def log_level(level: str | None, config_path: Path, as_json: bool) -> None:
    """What the service tells its journal, until it ends; without LEVEL what that is now.

    info: its own news. debug: every decision too, each with fields (RAMNET_NAME, RAMNET_VERDICT).
    """
    from ramnet.daemon.client import ask

    control = config.load(config_path).control_socket
    if level is None:
        level = ask(control, "GET", "/v1/status")["log_level"]
    else:
        level = ask(control, "POST", "/v1/log-level", json.dumps({"level": level}).encode())[
            "level"
        ]
    if as_json:
        print_json({"level": level})
    else:
        click.echo(level)


@click.command("sign-in")
@click.option(
    "--token-file", type=click.File("rb"), required=True, help="The token; - is standard input."
)
@config_option
@json_option
def sign_in(token_file: IO[bytes], config_path: Path, as_json: bool) -> None:
    """Begin a session with a token of the organization's identity provider."""
    from ramnet.trust.session import MAX_TOKEN

    token = token_file.read(MAX_TOKEN + 2).strip()
    if not token.isascii() or len(token) > MAX_TOKEN:
        raise ConfigError(f"{token_file.name} holds no token: it is too long, or no text")
    body = json.dumps({"token": token.decode()}).encode()
    _order(config_path, "/v1/sign-in", "signed in: {subject}, until {expires}", as_json, body)


@click.command("sign-out")
@config_option
@json_option
def sign_out(config_path: Path, as_json: bool) -> None:
    """End the session; where one is enforced, nothing is reachable from then on."""
    _order(config_path, "/v1/sign-out", "signed out", as_json)


def _order(config_path: Path, path: str, words: str, as_json: bool, body: bytes = b"") -> None:
    """Have the service do it, and say so with ``words`` about what it answers."""
    from ramnet.daemon.client import ask

    socket = config.load(config_path).control_socket
    answer = ask(socket, "POST", path, body, time_limit=FETCH_LIMIT)
    if as_json:
        print_json(answer)
    else:
        click.echo(printable(words.format_map(answer)))


@click.command()
@config_option
@json_option
@click.pass_context
def status(ctx: click.Context, config_path: Path, as_json: bool) -> None:
    """What is enforced, by what means, and how it is. Exit 1 unless enforcing."""
    from ramnet.daemon.client import ask

    document = ask(config.load(config_path).control_socket, "GET", "/v1/status")
    if as_json:
        print_json(document)
    else:
        from ramnet.cli.status_table import show

        show(document)
    ctx.exit(0 if document["state"] == "enforcing" else 1)


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--scope", "name", help="Which scope; not needed where there is one.")
@click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@config_option
def exec_(name: str | None, command: tuple[str, ...], config_path: Path) -> None:
    """Run CMD inside a scope's cgroup; never outside it. Init starts dockerd this way."""
    from ramnet.kernel.admission import enter

    settings = config.load(config_path)
    require_root("ramnet exec")
    enter(_scope_named(settings, name), settings.run_dir)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the caller's own program, without a shell
    except OSError as error:
        raise ConfigError(f"cannot run {command[0]}: {error.strerror}") from error


def _scope_named(settings: config.Config, name: str | None) -> config.Scope:
    named = [scope for scope in settings.scopes if name in (None, scope.name)]
    if len(named) != 1:
        known = ", ".join(scope.name for scope in settings.scopes)
        what = "--scope is needed" if name is None else f"there is no scope {name!r}"
        raise ConfigError(f"{what}; scopes are: {known}")
    return named[0]


def _enforcer(settings: config.Config, scope: config.Scope) -> "Enforcing":
    from ramnet.kernel.enforcer import Enforcer

    return Enforcer(settings, scope)


def _remove(settings: config.Config) -> None:
    """Without a service; under its lock, so that none starts meanwhile."""
    from ramnet.daemon import places

    places.make_run_directory(settings)
    lock = places.Lock(settings.run_dir)
    errors: list[RamnetError] = []
    try:
        for scope in settings.scopes:
            try:
                _remove_scope(settings, scope)
            except NamespaceAbsentError:  # and its rules with it
                continue
            except RamnetError as error:  # the others are taken away all the same
                errors.append(error)
        _release_own_hold()
    finally:
        lock.release()
    if errors:
        raise errors[0]


def _held(scope: config.Scope) -> "HeldScope":
    from ramnet.kernel.hold import HeldScope

    return HeldScope(scope.name, scope.netns, scope.cgroup)


def _remove_scope(settings: config.Config, scope: config.Scope) -> None:
    from ramnet.kernel.hold import release

    held = _held(scope)
    try:
        _enforcer(settings, scope).remove()
    except KernelRefusedError:
        # A kernel that can hold and do no more: there is nothing but that table.
        if not release(held):
            raise
    else:
        release(held)


def _release_own_hold() -> None:
    """``hold`` without a configuration takes this namespace, whatever the scopes are now."""
    from ramnet.kernel.hold import HeldScope, release

    release(HeldScope(), only_hold=True)


def _hold_the_bare(settings: config.Config, tell: Callable[[str], None]) -> None:
    from ramnet.kernel.hold import hold_the_bare

    hold_the_bare([_held(scope) for scope in settings.scopes], tell)


def _hold_bare(scope: config.Scope) -> str | None:
    from ramnet.kernel.hold import hold_bare

    return hold_bare(_held(scope))


def enforcer_plan(settings: config.Config) -> dict[str, Any]:
    """What would be applied, by scope, with nothing applied."""
    from ramnet.kernel.enforcer import Enforcer
    from ramnet.kernel.uninterrupted import uninterrupted

    plans = {}
    for scope in settings.scopes:
        with uninterrupted():
            try:
                enforcer = Enforcer(settings, scope)
            except NamespaceAbsentError as error:
                plans[scope.name] = f"# waiting: {error}\n"
                continue
            try:
                plans[scope.name] = enforcer.plan()
            finally:
                enforcer.close()
    return plans
