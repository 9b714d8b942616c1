"""The keys of a policy repository: files for their owner alone, and the root that names them.

In one folder: ``ROLE-N.key`` (PKCS #8 in PEM, Ed25519, encrypted where there is a passphrase) and
``N.root.json``, the newest also as ``root.json``. The root's keys are needed for nothing but a
new root, so they belong on a medium in a drawer; the other three sign what is published.
"""

import copy
import re
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root

from ramnet.errors import RamnetError
from ramnet.trust.files import read, write_whole

ONLINE: Final = ("targets", "snapshot", "timestamp")
ROLES: Final = ("root", *ONLINE)
_KEY: Final = re.compile(r"(root|targets|snapshot|timestamp)-(\d+)\.key")

Passphrase = Callable[[Path], bytes]
"""Asked for the passphrase of an encrypted key file."""


def no_passphrase(path: Path) -> bytes:
    """For callers that have none."""
    raise RamnetError(f"{path}: is encrypted; say --passphrase-file FILE")


class KeyFolder:
    """The keys that are at hand."""

    def __init__(self, folder: Path, passphrase: Passphrase = no_passphrase) -> None:
        self.folder, self._passphrase = folder, passphrase

    def root(self) -> Metadata[Root]:
        """The newest root. Raises RamnetError."""
        return load_root(self.folder / "root.json")

    def roots(self) -> list[tuple[str, bytes]]:
        """Every root there was, by file name."""
        paths = sorted(self.folder.glob("[0-9]*.root.json"))
        return [(path.name, read(path)) for path in paths]

    def signers(self, role: str, root: Root | None = None) -> list[CryptoSigner]:
        """Those of ``role`` whose files are here and, where ``root`` is given, which it names."""
        signers = [self._load(path) for path in self._files(role)]
        known = None if root is None else set(root.roles[role].keyids)
        return [s for s in signers if known is None or s.public_key.keyid in known]

    def create(self, role: str, passphrase: bytes | None = None) -> CryptoSigner:
        """A new key of ``role``, in the next free file."""
        names = [path.name.removesuffix(".retired") for path in self.folder.iterdir()]
        numbers = [int(match[2]) for name in names if (match := _match(name, role))]
        path = self.folder / f"{role}-{max(numbers, default=0) + 1}.key"
        key = Ed25519PrivateKey.generate()
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        write_whole(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
        return CryptoSigner(key)

    def retire(self, role: str) -> None:
        """Put the key files of ``role`` aside, under a name that is not used any more."""
        for path in self._files(role):
            path.rename(path.with_name(f"{path.name}.retired"))

    def _files(self, role: str) -> list[Path]:
        if not self.folder.is_dir():
            raise RamnetError(f"{self.folder}: there is no such folder of keys")
        return [path for path in sorted(self.folder.iterdir()) if _match(path.name, role)]

    def _load(self, path: Path) -> CryptoSigner:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise RamnetError(f"{path}: others may read it; chmod 600 it, or make a new key")
        data = read(path)
        try:
            secret = self._passphrase(path) if b"ENCRYPTED" in data else None
            return CryptoSigner(load_pem_private_key(data, secret))
        except ValueError:
            raise RamnetError(f"{path}: is no key, or the passphrase is another one") from None


def _match(name: str, role: str) -> re.Match[str] | None:
    match = _KEY.fullmatch(name)
    return match if match and match[1] == role else None


def load_root(path: Path) -> Metadata[Root]:
    """Read a root that signs itself. Raises RamnetError."""
    try:
        found = Metadata[Root].from_bytes(read(path))
        if not isinstance(found.signed, Root):
            raise RamnetError(f"{path}: is no root of a policy repository")
        found.verify_delegate("root", found)
    except RepositoryError as error:
        raise RamnetError(f"{path}: is no root of a policy repository: {error}") from None
    return found


def generate(
    keys: KeyFolder,
    *,
    count: int = 1,
    threshold: int = 1,
    days: int = 365,
    passphrase: bytes | None = None,
) -> Metadata[Root]:
    """Make all keys, ``count`` of them for the root, and the first root."""
    if not 1 <= threshold <= count:
        raise RamnetError(f"{threshold} of {count} root keys cannot be asked for")
    if (keys.folder / "root.json").exists():
        raise RamnetError(f"{keys.folder}: has keys already; --rotate ROLE makes new ones")
    keys.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = Root(version=1, expires=_in(days), consistent_snapshot=True)
    for role in ROLES:
        for _ in range(count if role == "root" else 1):
            root.add_key(keys.create(role, passphrase).public_key, role)
    root.roles["root"].threshold = threshold
    return _finish(keys, root, keys.signers("root"), None)


def rotate(
    keys: KeyFolder, roles: Iterable[str], *, days: int = 365, passphrase: bytes | None = None
) -> Metadata[Root]:
    """A new root, with new keys for ``roles``; signed by the old root's keys and the new ones.

    Raises RamnetError when fewer of the old root's keys are at hand than it asks for.
    """
    before = keys.root()
    old = keys.signers("root", before.signed)
    if len(old) < before.signed.roles["root"].threshold:
        raise RamnetError(
            f"{keys.folder}: a new root needs {before.signed.roles['root'].threshold} of the "
            f"root's keys, and {len(old)} are here"
        )
    root = copy.deepcopy(before.signed)
    root.version, root.expires = before.signed.version + 1, _in(days)
    for role in dict.fromkeys(roles):
        retired = list(root.roles[role].keyids)
        keys.retire(role)
        for keyid in retired:
            root.add_key(keys.create(role, passphrase).public_key, role)
            root.revoke_key(keyid, role)
    return _finish(keys, root, [*old, *keys.signers("root", root)], before)


def _finish(
    keys: KeyFolder, root: Root, signers: list[CryptoSigner], before: Metadata[Root] | None
) -> Metadata[Root]:
    signed = Metadata(root)
    for signer in signers:
        signed.sign(signer, append=True)
    try:
        signed.verify_delegate("root", signed)
        if before is not None:
            before.verify_delegate("root", signed)
    except UnsignedMetadataError as error:
        raise RamnetError(f"{keys.folder}: the new root is not signed: {error}") from None
    data = signed.to_bytes()
    write_whole(keys.folder / f"{root.version}.root.json", data)
    write_whole(keys.folder / "root.json", data)
    return signed


def _in(days: int) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
