"""``ramnet run``, ``down`` and ``status``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, print_json, require_root
from ramnet.errors import NotRunningError

if TYPE_CHECKING:
    from ramnet.daemon.guarded_scope import Enforcing


@click.command()
@config_option
def run(config_path: Path) -> None:
    """Enforce, in the foreground, until SIGTERM; the rules stay and refuse everything then."""
    import asyncio

    from ramnet.daemon.service import Means, Service
    from ramnet.gate.denial.authority import create_authority

    settings = config.load(config_path)
    require_root("ramnet run")

    async def serve() -> None:
        await Service(settings, Means(_enforcer, create_authority)).run()

    asyncio.run(serve())


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
        _remove(settings)
    click.echo("down: nothing is restricted")


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


def _enforcer(settings: config.Config, scope: config.Scope) -> "Enforcing":
    from ramnet.kernel.enforcer import Enforcer

    return Enforcer(settings, scope)


def _remove(settings: config.Config) -> None:
    """Without a service; under its lock, so that none starts meanwhile."""
    from ramnet.daemon import places

    places.make_run_directory(settings)
    lock = places.Lock(settings.run_dir)
    try:
        for scope in settings.scopes:
            _enforcer(settings, scope).remove()
    finally:
        lock.release()


def enforcer_plan(settings: config.Config) -> dict[str, Any]:
    """What would be applied, by scope, with nothing applied."""
    from ramnet.kernel.enforcer import Enforcer

    plans = {}
    for scope in settings.scopes:
        enforcer = Enforcer(settings, scope)
        try:
            plans[scope.name] = enforcer.plan()
        finally:
            enforcer.close()
    return plans
