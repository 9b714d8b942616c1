"""``ramnet policy keygen|publish``: what an administrator signs and a static server serves."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ramnet.cli.common import json_option, print_json, unused_config_option
from ramnet.cli.policy import is_clean, read_bytes, show_review
from ramnet.errors import PolicyError

if TYPE_CHECKING:
    from ramnet.trust.keys import KeyFolder

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_passphrase_option = click.option(
    "--passphrase-file", type=_FILE, help="Its first line encrypts the keys."
)


def _passphrase(path: Path | None) -> bytes | None:
    if path is None:
        return None
    line = read_bytes(path).split(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise PolicyError(f"{path}: its first line is empty")
    return line


def _open(folder: Path, secret: bytes | None) -> "KeyFolder":
    from ramnet.trust.keys import KeyFolder, no_passphrase

    ask: Callable[[Path], bytes] = no_passphrase if secret is None else lambda _: secret
    return KeyFolder(folder, ask)


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--root-keys", type=click.IntRange(1, 20), default=1, show_default=True)
@click.option(
    "--root-threshold",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="How many of the root's keys must sign a new root.",
)
@click.option(
    "--rotate",
    "roles",
    multiple=True,
    type=click.Choice(["root", "targets", "snapshot", "timestamp"]),
    help="Make new keys for a role, and a root that names them; needs the root's keys.",
)
@click.option("--renew", is_flag=True, help="Make a root that expires later, with the same keys.")
@click.option("--days", type=click.IntRange(1), default=365, show_default=True, help="Of the root.")
@_passphrase_option
@unused_config_option
@json_option
def keygen(
    folder: Path,
    root_keys: int,
    root_threshold: int,
    roles: tuple[str, ...],
    renew: bool,
    days: int,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make the keys of a policy repository in FOLDER, and root.json, which machines trust.

    Keep root-*.key offline: nothing but --rotate and --renew needs them.
    """
    from ramnet.trust.keys import generate, rotate

    secret = _passphrase(passphrase_file)
    keys = _open(folder, secret)
    if roles or renew:
        root = rotate(keys, roles, days=days, passphrase=secret)
    else:
        root = generate(
            keys, count=root_keys, threshold=root_threshold, days=days, passphrase=secret
        )
    facts = {
        "root": str(folder / "root.json"),
        "version": root.signed.version,
        "expires": root.signed.expires.isoformat(),
        "keys": {name: len(role.keyids) for name, role in root.signed.roles.items()},
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"{facts['root']}: version {facts['version']}, expires {facts['expires']}")
    click.echo("machines trust root.json; keep root-*.key offline")


@click.command()
@click.argument("file", type=_FILE, required=False)
@click.option("--keys", "key_folder", type=_FOLDER, required=True, help="What keygen made.")
@click.option("--to", "site", type=_FOLDER, required=True, help="The folder that is served.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME=FILE",
    help="A policy for a group of people, beside FILE, which is for all.",
)
@click.option("--refresh", is_flag=True, help="Renew the timestamp alone; for cron.")
@click.option(
    "--timestamp-days",
    type=click.FloatRange(0, 365, min_open=True),
    default=7,
    show_default=True,
    help="How long machines go on without a newer timestamp.",
)
@_passphrase_option
@unused_config_option
@json_option
def publish(
    file: Path | None,
    key_folder: Path,
    site: Path,
    groups: tuple[str, ...],
    refresh: bool,
    timestamp_days: float,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Sign FILE and write it to a folder that any static server can serve.

    What policy validate would refuse is not published; what it only remarks on is.
    """
    from ramnet.trust.publisher import Lifetimes, Repository

    if refresh == (file is not None):
        raise click.UsageError("give FILE, or --refresh without one")
    keys = _open(key_folder, _passphrase(passphrase_file))
    repository = Repository(site, keys, Lifetimes(timestamp=timestamp_days))
    facts: dict[str, Any] = {"site": str(site)}
    if file is None:
        facts["timestamp"] = repository.refresh()
    else:
        facts["targets"] = repository.publish(_documents(file, groups))
    if as_json:
        print_json(facts)
    else:
        what = "timestamp" if refresh else "policy"
        click.echo(
            f"{site}: {what} published, version {facts.get('targets', facts.get('timestamp'))}"
        )


def _documents(file: Path, groups: tuple[str, ...]) -> dict[str, bytes]:
    from ramnet.policy import review_document
    from ramnet.trust.names import BASE, group_path

    files = {BASE: file}
    for group in groups:
        name, sign, where = group.partition("=")
        if not sign:
            raise click.UsageError(f"--group {group}: say it as NAME=FILE")
        files[group_path(name)] = Path(where)
    documents = {target: read_bytes(path) for target, path in files.items()}
    for target, path in files.items():
        review = review_document(documents[target], source=str(path))
        if not is_clean(review):
            show_review(path, review)
        if review.faults:
            raise PolicyError(f"{path}: not published")
    return documents
