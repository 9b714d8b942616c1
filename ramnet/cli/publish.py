"""``ramnet policy publish``: what an administrator signs and a static server serves."""

from pathlib import Path
from typing import Any

import click

from ramnet.cli.common import FILE, json_option, print_json, unused_config_option
from ramnet.cli.keygen import FOLDER, open_keys, passphrase_option, read_passphrase
from ramnet.cli.policy import is_clean, read_bytes, show_review
from ramnet.errors import PolicyError


@click.command()
@click.argument("file", type=FILE, required=False)
@click.option("--keys", "key_folder", type=FOLDER, required=True, help="What keygen made.")
@click.option("--to", "site", type=FOLDER, required=True, help="The folder that is served.")
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
@passphrase_option
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
    if not timestamp_days > 0:  # the range lets nan pass
        raise click.UsageError(f"--timestamp-days {timestamp_days} is no number of days")
    keys = open_keys(key_folder, read_passphrase(passphrase_file))
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
        if not (sign and where):
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
