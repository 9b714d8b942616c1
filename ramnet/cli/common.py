"""What all commands share: options, errors as one line, JSON."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ramnet.config import DEFAULT_PATH
from ramnet.errors import NOT_LINUX, KernelRefusedError, RamnetError

_F = TypeVar("_F", bound=Callable[..., Any])
_REPORT_TO = "please report it with the output of RAMNET_DEBUG=1"


class Group(click.Group):
    """Turns every error into one line on stderr and the exit code of the contract."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a traceback is shown with RAMNET_DEBUG=1 only."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except RamnetError as error:
            click.echo(f"ramnet: {error}", err=True)
            ctx.exit(error.exit_code)
        except Exception as error:
            if os.environ.get("RAMNET_DEBUG") == "1":
                raise
            if sys.platform != "linux":  # what is not there of it is found here and there
                click.echo(f"ramnet: {NOT_LINUX}", err=True)
                ctx.exit(KernelRefusedError.exit_code)
            kind = type(error).__name__
            click.echo(f"ramnet: unexpected {kind}: {error}; {_REPORT_TO}", err=True)
            ctx.exit(1)


def config_option(command: _F) -> _F:
    """``--config FILE``, as the argument ``config_path``."""
    return _config(expose=True)(command)


def unused_config_option(command: _F) -> _F:
    """``--config FILE`` for a command that has no use for it: every command takes it."""
    return _config(expose=False)(command)


def _config(*, expose: bool) -> Callable[[_F], _F]:
    return click.option(
        "--config",
        "config_path",
        type=click.Path(dir_okay=False, path_type=Path),
        default=DEFAULT_PATH,
        show_default=True,
        expose_value=expose,
        help="How this machine enforces.",
    )


def json_option(command: _F) -> _F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def print_json(document: Any) -> None:
    """Indented, on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def require_root(what: str) -> None:
    """Raise KernelRefusedError for anybody but root."""
    if sys.platform != "linux":
        raise KernelRefusedError(NOT_LINUX)
    if os.geteuid() != 0:
        raise KernelRefusedError(f"{what} needs root; try again with sudo, or as root")


def printable(text: object) -> str:
    """``text`` on one line without control characters, fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(text))
