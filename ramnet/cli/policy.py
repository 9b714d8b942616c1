"""``ramnet policy validate|show|presets``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ramnet import config
from ramnet.cli.common import (
    config_option,
    json_option,
    print_json,
    printable,
    unused_config_option,
)
from ramnet.errors import PolicyError

if TYPE_CHECKING:
    from ramnet.policy import Document, Policy, Preset


def read_bytes(path: Path) -> bytes:
    """What ``path`` holds. Raises PolicyError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error


def load_document(path: Path) -> "Document":
    """Read a policy document. Raises PolicyError."""
    from ramnet.policy import read_document

    return read_document(read_bytes(path), source=str(path))


def load_policy(path: Path) -> "Policy":
    """Read and compile a policy document. Raises PolicyError."""
    from ramnet.policy import Policy, compile_policy

    return Policy(compile_policy(load_document(path)))


@click.group()
def policy() -> None:
    """Check and show policy documents."""


@policy.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@unused_config_option
@json_option
@click.pass_context
def validate(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Say what is wrong with a document, and what is odd. Exit 1 if anything is."""
    from ramnet.policy import DocumentError, findings, read_document

    faults, remarks = [], []
    try:
        remarks = findings(read_document(read_bytes(file), source=str(file)))
    except DocumentError as error:
        faults = error.faults
    if as_json:
        print_json(
            {
                "file": str(file),
                "valid": not faults,
                "faults": [fault._asdict() for fault in faults],
                "findings": [remark._asdict() for remark in remarks],
            }
        )
    else:
        for fault in faults:
            click.echo(_place(file, fault.line, fault.key, f"refused: {fault.reason}"))
        for remark in remarks:
            text = f"{remark.severity} ({remark.code}): {remark.text}"
            click.echo(_place(file, remark.line, remark.key, text))
        if not faults and not remarks:
            click.echo(f"{file}: good")
    ctx.exit(1 if faults or remarks else 0)


def _place(file: Path, line: int | None, key: str, text: str) -> str:
    place = str(file) if line is None else f"{file}:{line}"
    return printable(": ".join(part for part in (place, key, text) if part))


@policy.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@config_option
@json_option
def show(file: Path | None, config_path: Path, as_json: bool) -> None:
    """Show what a document says, this machine's own if no FILE is given."""
    import msgspec

    document = load_document(file or Path(config.load(config_path).policy))
    entries = [
        {"entry": entry.text, "allowed": entry.allowed, "local": entry.local, "name": entry.name}
        for entry in document.entries
    ]
    facts: dict[str, Any] = msgspec.to_builtins(
        {
            "source": document.source,
            "version": document.version,
            "organization": document.organization,
            "contact": document.contact,
            "enabled": document.enabled,
            "docker_hub": document.docker_hub,
            "presets": list(document.presets),
        }
    )
    if as_json:
        print_json({**facts, "digest": document.digest, "entries": entries})
        return
    for key, value in facts.items():
        click.echo(f"{key:<13} {printable(', '.join(value) if key == 'presets' else value)}")
    for entry in entries:
        verdict = "allowed" if entry["allowed"] else "denied"
        local = ", may be local" if entry["local"] else ""
        name = f"  # {entry['name']}" if entry["name"] else ""
        click.echo(printable(f"{verdict:<13} {entry['entry']}{local}{name}"))


@policy.command()
@unused_config_option
@json_option
def presets(as_json: bool) -> None:
    """The registries that are known by a short word, with every host that they need."""
    from ramnet.policy import list_presets

    if as_json:
        print_json([_preset(preset) for preset in list_presets()])
        return
    for preset in list_presets():
        click.echo(f"{preset.usage:<24} {preset.title}")
        for host in (*preset.registries, *preset.sign_in, *preset.redirects):
            click.echo(f"{'':<24}   {host}")


def _preset(preset: "Preset") -> dict[str, Any]:
    return {
        "name": preset.name,
        "usage": preset.usage,
        "example": preset.example,
        "title": preset.title,
        "registries": list(preset.registries),
        "sign_in": list(preset.sign_in),
        "redirects": list(preset.redirects),
        "broad": list(preset.broad),
    }
