"""Where the program ``ramnet`` begins: ``hold`` at once, every other command by way of click.

``hold`` is run at boot and must refuse within 100 ms, so its road loads neither click nor
anything else that it can do without; what it cannot read (``--help``, a mistyped option) goes
to click as well, which has the same command.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ramnet.early_hold import run_hold, tell

DEFAULT_CONFIG: Final = "/etc/ramnet/ramnet.toml"


def main() -> int:
    """The program; returns or raises SystemExit with the exit code of the contract."""
    try:
        open_standard_files()
        path = hold_config(sys.argv[1:])
        if path is not None:
            return run_hold(Path(path))
        from ramnet.cli import main as command_line

        command_line()
    except KeyboardInterrupt:  # before click, which says the same, is there to see it
        tell("aborted")
        return 1
    except ImportError as error:
        tell(f"a part of ramnet cannot be loaded ({error}); install it again")
        return 4
    return 0


def open_standard_files() -> None:
    """/dev/null in the place of each that is closed: the next file or socket that is opened would
    get its number, and whatever is written to it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - until the end


def hold_config(arguments: Sequence[str]) -> str | None:
    """The configuration file if this is ``hold`` and nothing else; None for anything else."""
    match arguments:
        case ["hold"]:
            return DEFAULT_CONFIG
        case ["hold", "--config", path]:
            return path
        case ["hold", option] if option.startswith("--config="):
            return option.removeprefix("--config=")
        case _:
            return None


if __name__ == "__main__":
    sys.exit(main())
