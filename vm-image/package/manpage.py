"""ramnet(8), written from the commands themselves, so that it says what the program does.

The two files that it shows are those that the package installs.

Source of the format: man-pages(7), groff_man(7).
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ramnet import __version__
from ramnet.cli import main

_FILES = (
    ("/etc/ramnet/ramnet.toml", "how this machine enforces"),
    ("/etc/ramnet/policy.toml", "what is allowed"),
    ("/var/lib/ramnet", "audit log and the last good policy"),
    ("/run/ramnet", "control socket, lock, and the certificate authority of this boot"),
)
_ETC: Final = Path(__file__).parents[1] / "etc"
_COMMON: Final = (
    ("--config FILE", "How this machine enforces; /etc/ramnet/ramnet.toml where it is not given."),
    ("--json", "Print JSON: every command that prints facts."),
    ("-h, --help", "What the command does, and its options."),
)
_PLUGIN: Final = (
    "docker ram status, check, caveats and events are the same commands as a plugin of Docker's "
    "command line."
)
_JSON_RULES: Final = (
    "One document, UTF-8; events and top print one a line. Keys are added and never renamed or "
    "removed. null is what is not known or does not apply. Times are RFC 3339 in UTC: time, first, "
    "last, and what ends in _at; expires and seen of status are words for people. What ends in _s "
    "is seconds, but in top, where it is the rate in a second; bytes are octets. Of an error there "
    "is a sentence on stderr, and no document."
)
JSON: Final = {
    "check": "a list, one for each HOST: host, port, allowed, outcome (allowed, denied, unlisted, "
    "unrestricted), entry, local, enforced; with -v tried, sentence, roads",
    "status": "state (starting, enforcing, auditing, refusing), version, supervisor, policy, "
    "session, scopes, exempt, metrics, log_level, warnings; GET /v1/status is the same",
    "events": "time, scope, kind (dns, tls, http, connect, socks, opaque, near, service), name, "
    "port, verdict (allowed, refused, would-deny, info), entry, original_destination, bytes_up, "
    "bytes_down, reason, container, redirect",
    "top": "state, scopes (scope, open, questions_s, connections_s, refused_s, bytes_up_s, "
    "bytes_down_s), refusals (as events)",
    "caveats": "a list: code, title, severity (high, medium, low), state (active, covered, absent, "
    "unknown), evidence, meaning, remedy, documentation",
    "suggest": "a list: host, port, registries, refusals, first, last, preset, line, shared",
    "verify": "a list: scope, promise, promise_text, probe, verdict (held, leaked, broken, "
    "not tested), sent, came",
    "rules": "a list: scope, rules",
    "refresh": "the part policy of status",
    "sign-in, sign-out": "the part session of status",
    "log-level": "level",
    "ca show": "certificate, sha256, installed, trust_store",
    "policy validate": "file, valid, faults (line, key, reason), findings (code, severity, key, "
    "text, line)",
    "policy show": "source, version, organization, contact, enabled, enforce, docker_hub, presets, "
    "digest, entries (entry, allowed, local, name)",
    "policy presets": "a list: name, usage, example, title, registries, sign_in, redirects, broad",
    "policy keygen": "root, version, expires, keys, missing; with --root-only public, key; with "
    "--sign what the root says, and in_force",
    "policy publish": "site, targets or timestamp",
}
"""What ``--json`` prints, by command."""
_ENVIRONMENT = (("RAMNET_DEBUG=1", "what is unexpected is shown with all of its traceback"),)
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
    yield from (".SH DESCRIPTION", _text(main.help or ""), ".PP", _text(_PLUGIN))
    yield from (".SH OPTIONS OF EVERY COMMAND", *_table(_COMMON), ".SH COMMANDS")
    yield from _commands("ramnet", main)
    yield from (".SH EXIT STATUS", *_table(_EXITS))
    yield from (".SH JSON", _text(_JSON_RULES), *_table(list(JSON.items())))
    yield from (".SH FILES", *_table(_FILES))
    for name in ("ramnet.toml", "policy.toml"):
        yield from (f".SH {name.upper()}", ".nf", _text((_ETC / name).read_text("utf-8")), ".fi")
    yield from (".SH ENVIRONMENT", *_table(_ENVIRONMENT))
    yield from (".SH SEE ALSO", ".BR dockerd (8),", ".BR nft (8),", ".BR systemd.unit (5)")


def _commands(prefix: str, group: click.Group) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(f"{prefix} {name}", command)
            continue
        context = click.Context(command, info_name=name)
        usage = " ".join(command.collect_usage_pieces(context))
        yield from (f".SS {_text(f'{prefix} {name} {usage}')}", *_paragraphs(command.help or ""))
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if (
                record is not None
                and record[1]
                and parameter.name not in ("config_path", "as_json")
            ):
                yield from _table([record])


def _paragraphs(words: str) -> Iterator[str]:
    """A line that begins with a space would be a line of its own."""
    for number, paragraph in enumerate(inspect.cleandoc(words).split("\n\n")):
        yield from ((".PP",) if number else ())
        yield _text(paragraph)


def _table(rows: "tuple[tuple[str, str], ...] | list[tuple[str, str]]") -> Iterator[str]:
    for term, meaning in rows:
        yield from (".TP", f".B {_text(term)}", _text(meaning))


def _text(words: str) -> str:
    """As roff prints it: backslashes and dashes literal, no line a request."""
    lines = words.replace("\\", "\\e").replace("-", "\\-").replace("`", '"').splitlines()
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


if __name__ == "__main__":
    print(page(), end="")
