"""The keys of a policy repository: files for their owner alone.

In one folder: ``ROLE-N.key`` (PKCS #8 in PEM, Ed25519, encrypted where there is a passphrase),
beside each its public half as ``ROLE-N.pub``, and ``N.root.json``, the newest also as
``root.json``. The root's keys are needed for nothing but a new root, so they belong on a medium in
a drawer, or with several people (``roots``); the other three sign what is published.
"""

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from ramnet.errors import RamnetError
from ramnet.trust.files import read, write_whole

ONLINE: Final = ("targets", "snapshot", "timestamp")
ROLES: Final = ("root", *ONLINE)
_KEY: Final = re.compile(r"(root|targets|snapshot|timestamp)-(\d+)\.key")

PENDING: Final = "next.root.json"
"""A root that is not signed by enough keys yet."""

Passphrase = Callable[[Path], bytes]
"""Asked for the passphrase of an encrypted key file."""


def no_passphrase(path: Path) -> bytes:
    """For callers that have none."""
    raise RamnetError(f"{path}: is encrypted; say --passphrase-file FILE")


class KeyFolder:
    """The keys that are at hand."""

    def __init__(self, folder: Path, passphrase: Passphrase = no_passphrase) -> None:
        self.folder, self._passphrase = folder, passphrase

    @property
    def pending(self) -> Path:
        """Where a root waits for signatures."""
        return self.folder / PENDING

    def root(self) -> Metadata[Root]:
        """The newest root in force. Raises RamnetError."""
        path = self.folder / "root.json"
        if self.pending.exists() and not path.exists():
            raise RamnetError(
                f"{self.pending}: waits for signatures, and there is no root before it; its "
                f"holders sign it with: ramnet policy keygen FOLDER --sign {self.pending}"
            )
        if not path.exists():
            raise RamnetError(f"{path}: is not there; ramnet policy keygen FOLDER makes it")
        return load_root(path)

    def roots(self) -> list[tuple[str, bytes]]:
        """Every root there was, by file name."""
        paths = sorted(self.folder.glob("[0-9]*.root.json"))
        return [(path.name, read(path)) for path in paths]

    def signers(self, role: str, *roots: Root) -> list[CryptoSigner]:
        """Those of ``role`` whose files are here and, where ``roots`` are given, that one names."""
        known = {keyid for root in roots for keyid in root.roles[role].keyids}
        paths = [p for p in self._files(role) if not roots or self._keyid(p) in known]
        signers = [self._load(path) for path in paths]
        return [s for s in signers if not roots or s.public_key.keyid in known]

    def unnamed(self, root: Root) -> list[Path]:
        """Key files that ``root`` does not name. Raises RamnetError where that cannot be told."""
        return [
            path
            for role in ROLES
            for path in self._files(role)
            if self._keyid(path) not in root.roles[role].keyids
        ]

    def create(self, role: str, passphrase: bytes | None = None) -> CryptoSigner:
        """A new key of ``role``, in the next free file."""
        names = [path.name.removesuffix(".retired") for path in self.folder.iterdir()]
        numbers = [int(match[2]) for name in names if (match := _match(name, role))]
        path = self.folder / f"{role}-{max(numbers, default=0) + 1}.key"
        key = Ed25519PrivateKey.generate()
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        write_whole(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_whole(path.with_suffix(".pub"), public)
        return CryptoSigner(key)

    def _files(self, role: str) -> list[Path]:
        if not self.folder.is_dir():
            raise RamnetError(f"{self.folder}: there is no such folder of keys")
        return [path for path in sorted(self.folder.iterdir()) if _match(path.name, role)]

    def _keyid(self, path: Path) -> str:
        """By its public half where that is there, since it needs no passphrase."""
        public = path.with_suffix(".pub")
        key = load_public(public) if public.exists() else self._load(path).public_key
        return str(key.keyid)

    def _load(self, path: Path) -> CryptoSigner:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise RamnetError(f"{path}: others may read it; chmod 600 it, or make a new key")
        data = read(path)
        try:
            secret = self._passphrase(path) if b"ENCRYPTED" in data else None
            return CryptoSigner(load_pem_private_key(data, secret))
        except ValueError:
            raise RamnetError(f"{path}: is no key, or the passphrase is another one") from None


def load_public(path: Path) -> SSlibKey:
    """Read the public half of a key. Raises RamnetError."""
    try:
        key = load_pem_public_key(read(path))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise RamnetError(f"{path}: is no public key that keygen made (Ed25519, in PEM)")
    return SSlibKey.from_crypto(key)


def _match(name: str, role: str) -> re.Match[str] | None:
    match = _KEY.fullmatch(name)
    return match if match and match[1] == role else None


def load_root(path: Path) -> Metadata[Root]:
    """Read a root that signs itself. Raises RamnetError."""
    found = load_unsigned(path)
    try:
        found.verify_delegate("root", found)
    except RepositoryError as error:
        raise RamnetError(f"{path}: is no root of a policy repository: {error}") from None
    return found


def load_unsigned(path: Path) -> Metadata[Root]:
    """Read a root, whoever has signed it. Raises RamnetError."""
    try:
        found = Metadata[Root].from_bytes(read(path))
    except RepositoryError as error:
        raise RamnetError(f"{path}: is no root of a policy repository: {error}") from None
    if not isinstance(found.signed, Root):
        raise RamnetError(f"{path}: is no root of a policy repository")
    return found
