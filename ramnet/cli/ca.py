"""``ramnet ca show|install|remove``: the boot-time CA that makes refusals over TLS readable."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, print_json, require_root
from ramnet.errors import RamnetError

if TYPE_CHECKING:
    from ramnet.daemon.authority import Authority


@click.group()
def ca() -> None:
    """The boot-time CA that makes refusals over TLS readable."""


@ca.command()
@config_option
@json_option
def show(config_path: Path, as_json: bool) -> None:
    """Where the certificate is, its fingerprint, and whether this machine trusts it."""
    from ramnet.daemon import authority

    certificate = authority.paths(config.load(config_path).run_dir).certificate
    try:
        pem = certificate.read_bytes()
    except OSError as error:
        raise RamnetError(
            f"there is no CA at {certificate} ({error.strerror}); `ramnet ca install` or "
            "`ramnet run` makes it"
        ) from error
    try:
        fingerprint = _fingerprint(pem)
    except ValueError:
        raise RamnetError(
            f"{certificate}: is no certificate; make a new one: `ramnet ca remove`, then "
            "`ramnet ca install`"
        ) from None
    facts = {
        "certificate": str(certificate),
        "sha256": fingerprint,
        "installed": authority.installed(pem),
        "trust_store": str(authority.TRUST_STORE),
    }
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        click.echo(f"{key:<12} {value}")


@ca.command()
@config_option
def install(config_path: Path) -> None:
    """Have this machine trust the CA, making it if there is none; before dockerd starts."""
    from ramnet.daemon import authority

    settings = config.load(config_path)
    require_root("ramnet ca install")
    certificate = _ensure(settings).certificate
    if authority.install(certificate):
        click.echo(f"installed {certificate}; a dockerd that runs already must be restarted")
    else:
        click.echo("installed already")


@ca.command()
@config_option
def remove(config_path: Path) -> None:
    """Have this machine trust the CA no more, and delete it."""
    from ramnet.daemon import authority

    settings = config.load(config_path)
    require_root("ramnet ca remove")
    gone = authority.uninstall()
    authority.remove(settings.run_dir)
    click.echo("removed" if gone else "was not installed")


def _ensure(settings: config.Config) -> "Authority":
    from ramnet.daemon import authority, places
    from ramnet.gate.denial.authority import create_authority

    places.make_run_directory(settings)
    return authority.ensure(settings.run_dir, create_authority)


def _fingerprint(pem: bytes) -> str:
    import hashlib
    import ssl

    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
