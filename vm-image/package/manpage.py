"""ramnet(8), written from the commands themselves, so that it says what the program does.

Source of the format: man-pages(7), groff_man(7).
"""

from collections.abc import Iterator

import click

from ramnet import __version__
from ramnet.cli import main

_FILES = (
    ("/etc/ramnet/ramnet.toml", "how this machine enforces"),
    ("/etc/ramnet/policy.toml", "what is allowed"),
    ("/var/lib/ramnet", "audit log and the last good policy"),
    ("/run/ramnet", "control socket, lock, and the certificate authority of this boot"),
)
_EXITS = (
    ("0", "yes, or done"),
    ("1", "no, denied, or findings"),
    ("2", "usage"),
    ("3", "the service does not run"),
    ("4", "refused by the kernel, or lacking privilege"),
)


def page() -> str:
    """The whole page as roff."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH RAMNET 8 "" "ramnet {__version__}" "System Administration"'
    yield from (".SH NAME", "ramnet \\- decide which container registries Docker may reach")
    yield from (".SH SYNOPSIS", ".B ramnet", ".I COMMAND", "[\\fIOPTION\\fR]...")
    yield from (".SH DESCRIPTION", _text(main.help or ""), ".SH COMMANDS")
    yield from _commands("ramnet", main)
    yield from (".SH EXIT STATUS", *_table(_EXITS))
    yield from (".SH FILES", *_table(_FILES))
    yield from (".SH SEE ALSO", ".BR dockerd (8),", ".BR nft (8),", ".BR systemd.unit (5)")


def _commands(prefix: str, group: click.Group) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(f"{prefix} {name}", command)
            continue
        context = click.Context(command, info_name=name)
        usage = " ".join(command.collect_usage_pieces(context))
        yield from (f".SS {_text(f'{prefix} {name} {usage}')}", _text(command.help or ""))
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record is not None:
                yield from _table([record])


def _table(rows: "tuple[tuple[str, str], ...] | list[tuple[str, str]]") -> Iterator[str]:
    for term, meaning in rows:
        yield from (".TP", f".B {_text(term)}", _text(meaning))


def _text(words: str) -> str:
    """As roff prints it: backslashes and dashes literal, no line a request."""
    lines = words.replace("\\", "\\e").replace("-", "\\-").replace("`", '"').splitlines()
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


if __name__ == "__main__":
    print(page(), end="")
