"""Where the program ``ramnet`` begins: ``hold`` at once, every other command by way of click.

``hold`` is run at boot and must refuse within 100 ms, so its road loads neither click nor
anything else that it can do without; what it cannot read (``--help``, a mistyped option) goes
to click as well, which has the same command.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

DEFAULT_CONFIG: Final = "/etc/ramnet/ramnet.toml"


def main() -> int:
    """The program; returns or raises SystemExit with the exit code of the contract."""
    path = hold_config(sys.argv[1:])
    if path is not None:
        from ramnet.early_hold import run_hold

        return run_hold(Path(path))
    from ramnet.cli import main as command_line

    command_line()
    return 0


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
