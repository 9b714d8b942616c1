"""What the guest's test hosts need, laid down as files: certificates, a registry's store, units."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Final

import trustme

from runner.images import HERE
from tests.lab.image import Image, digest, make_image
from tests.trust.issuer import AUDIENCE, ISSUER, Issuer

ALLOWED: Final = "registry.allowed.example"
BLOCKED: Final = "registry.blocked.example"
RESOLVER: Final = "192.0.2.53"
_UNITS: Final = {
    "vm-prober.service": "sysinit.target",
    "vm-wire.service": "multi-user.target",
    "vm-cut.service": "multi-user.target",
    "vm-check.service": "multi-user.target",
}
_POLICY: Final = f"""version = 1
organization = "acme"
contact = "ask it-help@acme.example to add a registry"
docker_hub = false
[[registry]]
host = "{ALLOWED}"
"""

_SESSION: Final = f"""
[session]
enforce = true
allowed_orgs = ["acme"]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks = "/opt/vm/jwks.json"
"""


def furnish(root: Path) -> None:
    """Fill ``root``, which is to be laid over the image's root."""
    _copy_guest(root)
    _write(root / "etc/ramnet/policy.toml", _POLICY)
    _write(root / "etc/resolv.conf", f"nameserver {RESOLVER}\n")
    _write(root / "etc/docker/daemon.json", json.dumps({"dns": [RESOLVER]}))
    # The store's own list takes a minute to take in, emulated; what is checked is our authority.
    _write(root / "etc/ca-certificates.conf", "mozilla/ISRG_Root_X1.crt\n")
    authority = trustme.CA(organization_name="ramnet lab")
    for name in (ALLOWED, BLOCKED):
        place = root / "etc/docker/certs.d" / name
        place.mkdir(parents=True)
        authority.cert_pem.write_to_path(place / "ca.crt")
    _session(root / "opt/vm")
    store = root / "opt/vm/store"
    _store(store / "docker/registry/v2", make_image(ALLOWED), "library/app", "1")
    _registry(root / "opt/vm", authority)


def other_init(root: Path) -> None:
    """Fill ``root``, laid over as well where init is not systemd."""
    (root / "usr/sbin").mkdir(parents=True)
    shutil.copy(HERE / "guest/init", root / "usr/sbin/init")


def sign_in_first(root: Path) -> None:
    """Fill ``root``, laid over as well where nothing is reachable for who is not signed in."""
    settings = (HERE / "etc/ramnet.toml").read_text()
    _write(root / "etc/ramnet/ramnet.toml", settings + _SESSION)


_FOR_DOCKERD: Final = (
    "etc/ramnet/policy.toml",
    "etc/docker",
    "etc/ca-certificates.conf",
    "opt/vm/facts.py",
    "opt/vm/report.py",
)
_DIRECT: Final = "[Service]\nUnsetEnvironment=HTTP_PROXY HTTPS_PROXY\n"
"""dockerd asks no proxy, so that its pulls show what becomes of its own packets."""


def furnish_distribution(root: Path, furnished: Path) -> None:
    """Lay what is dockerd's and ramnet's over a distribution's ``root``."""
    for name in _FOR_DOCKERD:
        source, target = furnished / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    units = root / "etc/systemd/system"
    _write(units / "docker.service.d/90-direct.conf", _DIRECT)
    # The console is the machine's, and no person sits at it.
    (units / "console-getty.service").symlink_to("/dev/null")


def _session(directory: Path) -> None:
    issuer = Issuer()
    _write_bytes(directory / "jwks.json", issuer.jwks)
    _write(directory / "token", issuer.token())
    _write(directory / "foreign", issuer.token(organizations=["other"]))


def _copy_guest(root: Path) -> None:
    shutil.copytree(
        HERE / "guest", root / "opt/vm", ignore=shutil.ignore_patterns("__pycache__", "units")
    )
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    for name, target in _UNITS.items():
        shutil.copy(HERE / "guest/units" / name, units)
        wants = units / f"{target}.wants"
        wants.mkdir(exist_ok=True)
        (wants / name).symlink_to(f"../{name}")
    # The console is for what goes wrong; loading profiles takes ten seconds, emulated.
    for name in ("serial-getty@ttyS0.service", "apparmor.service"):
        (units / name).symlink_to("/dev/null")


def _registry(directory: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert(ALLOWED, BLOCKED)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (directory / "registry.crt").write_bytes(chain)
    issued.private_key_pem.write_to_path(directory / "registry.key")
    configuration = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": "/opt/vm/store"}},
        "http": {
            "addr": "0.0.0.0:443",
            "secret": "lab",
            "tls": {"certificate": "/opt/vm/registry.crt", "key": "/opt/vm/registry.key"},
        },
    }
    _write(directory / "registry.yml", json.dumps(configuration))  # JSON is YAML


def _store(base: Path, image: Image, repository: str, tag: str) -> None:
    """The image as docker-registry keeps it (distribution: registry/storage/paths.go)."""
    for blob in (*image.blobs, image.manifest):
        name = hashlib.sha256(blob).hexdigest()
        _write_bytes(base / "blobs/sha256" / name[:2] / name / "data", blob)
    place = base / "repositories" / repository
    for blob in image.blobs:
        _write(place / "_layers/sha256" / digest(blob)[7:] / "link", digest(blob))
    manifest = digest(image.manifest)
    for link in (
        place / "_manifests/revisions/sha256" / manifest[7:],
        place / f"_manifests/tags/{tag}/current",
        place / f"_manifests/tags/{tag}/index/sha256" / manifest[7:],
    ):
        _write(link / "link", manifest)


def _write(path: Path, text: str) -> None:
    _write_bytes(path, text.encode())


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
