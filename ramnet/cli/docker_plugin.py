"""``docker ram``: what people ask ramnet, as a plugin of Docker's command line.

Docker asks a program ``docker-ram`` for its metadata, then runs it with its own arguments, global
flags and the plugin's name included (docker/cli, ``cli-plugins/manager``). It runs as whoever
typed the command: ``events`` needs more than ``status`` does, and says so.
"""

import json
import sys
from collections.abc import Sequence
from typing import Final

import click

from ramnet import __version__
from ramnet.cli import caveats, facts, log, service
from ramnet.cli.common import Group

METADATA: Final = "docker-cli-plugin-metadata"
NAME: Final = "ram"
SUMMARY: Final = "Registry access management: what Docker may reach here"
_WITH_VALUE: Final = frozenset(
    {"config", "context", "host", "log-level", "tlscacert", "tlscert", "tlskey"}
)
"""Docker's global options that take a value (docker/cli, ``cli/flags/options.go``)."""
_SHORT_WITH_VALUE: Final = frozenset("cHl")


@click.group(
    cls=Group, help=f"{SUMMARY}.", context_settings={"help_option_names": ["-h", "--help"]}
)
def ram() -> None:
    """The commands that change nothing."""


for _command in (service.status, facts.check, caveats.caveats, log.events):
    ram.add_command(_command)


def main() -> None:
    """The program ``docker-ram``; ends by SystemExit with ramnet's own exit codes."""
    arguments = sys.argv[1:]
    if arguments[:1] == [METADATA]:
        click.echo(json.dumps(_metadata()))
        return
    ram(args=own_arguments(arguments), prog_name="docker ram")


def own_arguments(arguments: Sequence[str]) -> list[str]:
    """What follows the plugin's name; Docker's global options and their values stand before it."""
    words = iter(arguments)
    for word in words:
        if word == NAME:
            return list(words)
        if _takes_the_next(word):
            next(words, None)
    return list(arguments)


def _takes_the_next(word: str) -> bool:
    """Whether the word after it is its value, as Docker's own parser (pflag) has it."""
    if word.startswith("--"):
        return word[2:] in _WITH_VALUE
    if not word.startswith("-"):
        return False
    # -Dc NAME: of the letters behind one hyphen the first that takes a value takes all the rest.
    at = next((i for i, letter in enumerate(word) if letter in _SHORT_WITH_VALUE), len(word))
    return at == len(word) - 1


def _metadata() -> dict[str, str]:
    return {
        "SchemaVersion": "0.1.0",
        "Vendor": "ramnet",
        "Version": __version__,
        "ShortDescription": SUMMARY,
    }


if __name__ == "__main__":
    main()
