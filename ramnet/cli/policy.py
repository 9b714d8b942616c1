"""``ramnet policy validate|show|import|presets``."""

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ramnet import config
from ramnet.cli.common import (
    FILE,
    config_option,
    json_option,
    print_json,
    printable,
    unused_config_option,
)
from ramnet.errors import KernelRefusedError, PolicyError

if TYPE_CHECKING:
    from ramnet.policy import Document, Policy, Preset, Review


def read_bytes(path: Path) -> bytes:
    """What ``path`` holds, or as much of it as shows that it is too large.

    Raises:
        KernelRefusedError: this user may not read it.
        PolicyError: it cannot be read.
    """
    from ramnet.policy.document import MAX_DOCUMENT

    try:
        with path.open("rb") as file:
            return file.read(MAX_DOCUMENT + 1)
    except PermissionError as error:
        raise KernelRefusedError(
            f"{path}: cannot be read: {error.strerror}; try again with sudo, or as root"
        ) from error
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error


def load_document(path: Path) -> "Document":
    """Read a policy document. Raises PolicyError."""
    from ramnet.policy import read_document

    return read_document(read_bytes(path), source=str(path))


def own_document(settings: config.Config) -> "Document":
    """This machine's: its file, or what was kept of its policy server's. Raises PolicyError."""
    if not settings.signed:
        return load_document(Path(settings.policy))
    from ramnet.daemon.policy_facts import read_bundle
    from ramnet.trust.bundle import BUNDLE

    path = Path(settings.state_dir) / BUNDLE
    if not path.exists():
        raise PolicyError(
            f"nothing has been fetched from {settings.policy} yet; try: ramnet refresh"
        )
    return read_bundle(read_bytes(path), source=settings.policy)


def own_policy(settings: config.Config) -> "Policy":
    """The same, compiled. Raises PolicyError."""
    from ramnet.policy import Policy, compile_policy

    return Policy(compile_policy(own_document(settings)))


@click.group()
def policy() -> None:
    """Check and show policy documents."""


@policy.command()
@click.argument("file", type=FILE)
@click.option(
    "--replaces",
    type=FILE,
    help="The policy that FILE is to replace; its version must be lower.",
)
@unused_config_option
@json_option
@click.pass_context
def validate(ctx: click.Context, file: Path, replaces: Path | None, as_json: bool) -> None:
    """Say all that is wrong with a document, and what is odd; exit 1 where notes are not all."""
    from ramnet.policy import review_document

    previous = None if replaces is None else load_document(replaces).version
    review = review_document(read_bytes(file), source=str(file), previous_version=previous)
    if as_json:
        print_json(
            {
                "file": str(file),
                "valid": not review.faults,
                "faults": [fault._asdict() for fault in review.faults],
                "findings": [remark._asdict() for remark in review.findings],
            }
        )
    else:
        show_review(file, review)
    ctx.exit(0 if is_clean(review) else 1)


def is_clean(review: "Review") -> bool:
    """Whether there is nothing but notes."""
    return not review.faults and all(remark.severity == "note" for remark in review.findings)


def show_review(file: Path, review: "Review") -> None:
    """A line for each fault and remark, in the order of the document."""
    said = [(f.line, f.key, f"refused: {f.reason}") for f in review.faults]
    said += [(r.line, r.key, f"{r.severity} ({r.code}): {r.text}") for r in review.findings]
    for line, key, text in sorted(said, key=lambda one: one[0] or 0):
        click.echo(_place(file, line, key, text))
    if not said:
        click.echo(f"{file}: good")


def _place(file: Path, line: int | None, key: str, text: str) -> str:
    place = str(file) if line is None else f"{file}:{line}"
    return printable(": ".join(part for part in (place, key, text) if part))


@policy.command()
@click.argument("file", type=FILE, required=False)
@config_option
@json_option
def show(file: Path | None, config_path: Path, as_json: bool) -> None:
    """Show what a document says, this machine's own if no FILE is given."""
    import msgspec

    document = load_document(file) if file else own_document(config.load(config_path))
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
            "enforce": document.enforce,
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


@policy.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--output", type=FILE, help="Not stdout.")
@click.option(
    "--version",
    type=click.IntRange(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Of the policy; it rises with every change.",
)
@click.option("--organization", help="Who disallows, in the words of a refusal.")
@click.option("--contact", help="What a refused person shall do.")
@unused_config_option
def import_(
    file: IO[bytes],
    output: Path | None,
    version: int,
    organization: str | None,
    contact: str | None,
) -> None:
    """Turn Docker's Registry Access Management object (FILE, or - for stdin) into policy.toml."""
    import msgspec
    import tomli_w

    from ramnet.policy import read_document, to_tables
    from ramnet.policy.document import MAX_DOCUMENT

    document = read_document(file.read(MAX_DOCUMENT + 1), source=file.name)
    said = {"organization": organization, "contact": contact}
    document = msgspec.structs.replace(
        document, version=version, **{key: text for key, text in said.items() if text is not None}
    )
    text = tomli_w.dumps(to_tables(document))
    read_document(text.encode(), source="what you gave")  # organisation and contact are checked
    if not document.enabled:
        click.echo(
            'ramnet: "enabled" is false there and nothing restricted; a policy.toml restricts '
            "from the moment it is in force",
            err=True,
        )
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PolicyError(f"{output}: cannot be written: {error.strerror}") from error


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
