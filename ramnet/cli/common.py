"""What all commands share: options, errors as one line, JSON."""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from ramnet.config import DEFAULT_PATH
from ramnet.errors import NOT_LINUX, KernelRefusedError, RamnetError

_F = TypeVar("_F", bound=Callable[..., Any])
_REPORT_TO = "please report it with the output of RAMNET_DEBUG=1"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
FILE: Final = click.Path(dir_okay=False, readable=False, path_type=Path)
"""Whether it can be read is found where it is read: then the exit code says who may not."""


class Group(click.Group):
    """Turns every error into one line on stderr and the exit code of the contract."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """The program. What it prints may find no room, the text of ``--help`` as well."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if not _is_of_output(error) or os.environ.get("RAMNET_DEBUG") == "1":
                raise
            _end(f"the output cannot be written: {error.strerror}", 1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a traceback is shown with RAMNET_DEBUG=1 only."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except RamnetError as error:
            _end(str(error), error.exit_code)
        except Exception as error:
            if os.environ.get("RAMNET_DEBUG") == "1" or _is_of_output(error):
                raise
            if sys.platform != "linux":  # what is not there of it is found here and there
                _end(NOT_LINUX, KernelRefusedError.exit_code)
            if isinstance(error, OSError) and error.filename is not None:
                denied = isinstance(error, PermissionError)
                code = KernelRefusedError.exit_code if denied else 1
                _end(f"{error.filename}: {error.strerror}", code)
            _end(f"unexpected {type(error).__name__}: {error}; {_REPORT_TO}", 1)


def _is_of_output(error: Exception) -> bool:
    """Writing to a descriptor names no file."""
    return isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM


def _end(sentence: str, code: int) -> NoReturn:
    """Say why, where that can be said, and exit."""
    with contextlib.suppress(OSError):
        click.echo(f"ramnet: {printable(sentence)}", err=True)
    sys.exit(code)


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
        type=FILE,
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
