"""``ramnet policy keygen``: keys, and the root that names them, signed here or by its holders."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ramnet.cli.common import FILE, json_option, print_json, printable, unused_config_option
from ramnet.cli.policy import read_bytes
from ramnet.errors import PolicyError

if TYPE_CHECKING:
    from ramnet.trust.keys import KeyFolder
    from ramnet.trust.roots import RootKeys
    from ramnet.trust.signing import Draft

FOLDER = click.Path(file_okay=False, readable=False, path_type=Path)
passphrase_option = click.option(
    "--passphrase-file", type=FILE, help="Its first line encrypts the keys."
)


def read_passphrase(path: Path | None) -> bytes | None:
    """The first line of that file. Raises PolicyError where it is empty."""
    if path is None:
        return None
    line = read_bytes(path).split(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise PolicyError(f"{path}: its first line is empty")
    return line


def open_keys(folder: Path, secret: bytes | None) -> "KeyFolder":
    """The keys of a folder, with the passphrase that encrypts them."""
    from ramnet.trust.keys import KeyFolder, no_passphrase

    ask: Callable[[Path], bytes] = no_passphrase if secret is None else lambda _: secret
    return KeyFolder(folder, ask)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--root-keys", type=click.IntRange(1, 20), help="How many are made here.  [1]")
@click.option(
    "--root-pub",
    "root_pubs",
    multiple=True,
    type=FILE,
    help="The public half of a root key that somebody else holds.",
)
@click.option(
    "--root-threshold",
    type=click.IntRange(1, 20),
    help="How many of the root's keys must sign a root.  [1]",
)
@click.option("--root-only", is_flag=True, help="Make one root key, for its holder, and its .pub.")
@click.option(
    "--rotate",
    "roles",
    multiple=True,
    type=click.Choice(["root", "targets", "snapshot", "timestamp"]),
    help="Make new keys for a role, and a root that names them; needs the root's keys.",
)
@click.option("--renew", is_flag=True, help="Make a root that expires later, with the same keys.")
@click.option(
    "--sign", "to_sign", type=FILE, help="Show this root, and sign it with FOLDER's root keys."
)
@click.option(
    "--days",
    type=click.IntRange(1, 36500),
    default=365,
    show_default=True,
    help="Until the root expires.",
)
@passphrase_option
@unused_config_option
@json_option
def keygen(
    folder: Path,
    root_keys: int | None,
    root_pubs: tuple[Path, ...],
    root_threshold: int | None,
    root_only: bool,
    roles: tuple[str, ...],
    renew: bool,
    to_sign: Path | None,
    days: int,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make the keys of a policy repository in FOLDER, and root.json, which machines trust.

    Keep root-*.key offline: nothing but a new root needs them. Where people hold them apart, each
    makes one with --root-only and hands over its .pub; the root that names them (--root-pub) then
    waits in next.root.json until enough of them have signed it (--sign).
    """
    from ramnet.trust.roots import RootKeys, generate, rotate

    rotating = bool(roles) or renew
    named = RootKeys(root_keys, root_pubs, root_threshold)
    _check_usage(named, root_only, roles, rotating, to_sign)
    secret = read_passphrase(passphrase_file)
    keys = open_keys(folder, secret)
    if root_only:
        _make_root_key(keys, secret, as_json)
    elif to_sign is not None:
        _sign(keys, to_sign, as_json)
    elif rotating:
        _tell_root(keys, rotate(keys, roles, named, days=days, passphrase=secret), as_json)
    else:
        _tell_root(keys, generate(keys, named, days=days, passphrase=secret), as_json)


def _check_usage(
    named: "RootKeys", root_only: bool, roles: tuple[str, ...], rotating: bool, sign: Path | None
) -> None:
    if root_only + rotating + (sign is not None) > 1:
        raise click.UsageError("--root-only, --sign and --rotate or --renew exclude each other")
    says = named.own is not None or named.public or named.threshold is not None
    if says and (root_only or sign is not None or (rotating and "root" not in roles)):
        raise click.UsageError(
            "--root-keys, --root-pub and --root-threshold say whose the root's keys are: for new "
            "keys, and with --rotate root"
        )


def _make_root_key(keys: "KeyFolder", secret: bytes | None, as_json: bool) -> None:
    from ramnet.trust.keys import load_public
    from ramnet.trust.roots import create_root_key
    from ramnet.trust.signing import short

    path = create_root_key(keys, secret)
    keyid = load_public(path).keyid
    if as_json:
        print_json({"public": str(path), "key": keyid})
        return
    click.echo(f"{path}: key {short(keyid)}")
    click.echo("hand over the .pub, and keep the .key for yourself, offline")


def _tell_root(keys: "KeyFolder", draft: "Draft", as_json: bool) -> None:
    root, missing = draft.root.signed, draft.missing
    path = keys.pending if missing else keys.folder / "root.json"
    facts: dict[str, Any] = {
        "root": str(path),
        "version": root.version,
        "expires": root.expires.isoformat(),
        "keys": {name: len(role.keyids) for name, role in root.roles.items()},
        "missing": missing,
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"{path}: version {facts['version']}, expires {facts['expires']}")
    if missing:
        _tell_missing(path, missing)
    else:
        click.echo("machines trust root.json; keep root-*.key offline")


def _tell_missing(path: Path, missing: list[str]) -> None:
    for line in missing:
        click.echo(f"not in force yet: it lacks {line}")
    click.echo(f"each holder: ramnet policy keygen FOLDER --sign {path}")


def _sign(keys: "KeyFolder", path: Path, as_json: bool) -> None:
    from ramnet.trust.signing import add, describe, examine, home_of

    draft = examine(keys, path)
    if not as_json:
        _show(path, describe(draft))
        if sys.stdin.isatty():
            click.confirm("sign it?", abort=True)
    home = home_of(keys, draft.path)
    in_force = add(keys, draft, path)
    if as_json:
        print_json({"in_force": in_force, **describe(draft)})
    elif in_force and home is not None:
        click.echo(f"{home.folder / 'root.json'}: version {draft.root.signed.version} is in force")
    elif draft.missing:
        _tell_missing(draft.path, draft.missing)
    else:
        click.echo(
            f"{path}: is signed by enough; bring it back: ramnet policy keygen KEYS --sign {path}"
        )


def _show(path: Path, facts: dict[str, Any]) -> None:
    from ramnet.trust.signing import short

    follows = "" if facts["follows"] is None else f", after version {facts['follows']}"
    click.echo(
        printable(f"{path}: version {facts['version']}{follows}, expires {facts['expires']}")
    )
    for role, said in facts["roles"].items():
        marks = {keyid: " (new)" for keyid in said["new"] if facts["follows"] is not None}
        names = [f"{short(keyid)}{marks.get(keyid, '')}" for keyid in said["keys"]]
        names += [f"{short(keyid)} (no more)" for keyid in said["gone"]]
        click.echo(printable(f"  {role:<10} {said['threshold']} of {', '.join(names)}"))
