"""Writes a policy repository: a folder that any static server, object store or CDN can serve.

Order of writing: documents, then what names them, and ``timestamp.json``, which makes all of it
the newest, last. A machine that fetches in the middle sees the old state or the new one, and a
publisher that dies in the middle has published nothing.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from ramnet.errors import PolicyError, RamnetError
from ramnet.policy import read_document
from ramnet.trust.files import read, write_whole
from ramnet.trust.keys import ONLINE, KeyFolder

_SIZES: Final = 64
_T = TypeVar("_T", Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Days until what is signed expires. Whoever can keep a machine from the server can keep it
    at an old policy until ``timestamp`` expires, and no longer."""

    targets: float = 365
    snapshot: float = 365
    timestamp: float = 7


class Repository:
    """The folder that is served, and the keys to sign what is in it."""

    def __init__(self, site: Path, keys: KeyFolder, lifetimes: Lifetimes | None = None) -> None:
        self.site, self._keys, self._lifetimes = site, keys, lifetimes or Lifetimes()
        self._root = keys.root().signed

    def publish(self, documents: dict[str, bytes]) -> int:
        """Publish documents by target path; returns the version of ``targets``.

        Raises:
            PolicyError: a document is at fault, or has changed without its version rising.
            RamnetError: a key is missing, a file cannot be written.
        """
        before = self._load("targets", Targets)
        known = before.signed.targets if before else {}
        targets = {path: _target(path, data, known.get(path)) for path, data in documents.items()}
        self._require(ONLINE)
        self._put_roots()
        for path, data in documents.items():
            folder, _, name = path.rpartition("/")
            digest = targets[path].hashes["sha256"]
            write_whole(self.site / "targets" / folder / f"{digest}.{name}", data)
        version = before.signed.version + 1 if before else 1
        signed = self._put(Targets(version, expires=self._expiry("targets"), targets=targets))
        self._put_timestamp(self._snapshot(signed))
        return version

    def refresh(self) -> int:
        """Sign ``timestamp`` anew, and nothing else; returns its version. Raises RamnetError."""
        timestamp = self._load("timestamp", Timestamp)
        targets, snapshot = self._load("targets", Targets), self._load("snapshot", Snapshot)
        if timestamp is None or targets is None or snapshot is None:
            raise RamnetError(f"{self.site}: nothing is published there yet")
        self._check_still_good("targets", targets)
        self._check_still_good("snapshot", snapshot)
        self._require(["timestamp"])
        self._put_roots()
        return self._put_timestamp(timestamp.signed.snapshot_meta)

    def _check_still_good(self, name: str, found: "Metadata[Any]") -> None:
        try:
            self._root.verify_delegate(name, found.signed_bytes, found.signatures)
        except RepositoryError:
            raise RamnetError(
                f"{self.site}: {name} is signed by a key that is no longer trusted; publish the "
                "policy in full"
            ) from None
        if found.signed.is_expired():
            raise RamnetError(f"{self.site}: {name} has expired; publish the policy in full")

    def _snapshot(self, targets: MetaFile) -> MetaFile:
        before = self._load("snapshot", Snapshot)
        version = before.signed.version + 1 if before else 1
        meta = {"targets.json": targets}
        return self._put(Snapshot(version, expires=self._expiry("snapshot"), meta=meta))

    def _put_timestamp(self, snapshot: MetaFile) -> int:
        before = self._load("timestamp", Timestamp)
        version = before.signed.version + 1 if before else 1
        expires = self._expiry("timestamp")
        self._put(Timestamp(version, expires=expires, snapshot_meta=snapshot), numbered=False)
        return version

    def _put_roots(self) -> None:
        for name, data in self._keys.roots():
            if not (self.site / "metadata" / name).exists():
                write_whole(self.site / "metadata" / name, data)

    def _put(self, signed: Targets | Snapshot | Timestamp, *, numbered: bool = True) -> MetaFile:
        """Sign and write; returns what names it. With its hash, so that whoever has the key of
        one role alone can put nothing else in its place under the same number."""
        metadata: Metadata[Any] = Metadata(signed)
        for signer in self._keys.signers(signed.type, self._root):
            metadata.sign(signer, append=True)
        name = f"{signed.version}.{signed.type}.json" if numbered else f"{signed.type}.json"
        data = metadata.to_bytes()
        if not numbered:
            # Servers make an ETag of the time in seconds and the size (nginx does): two of one
            # second must not look alike, or a machine would be told that nothing has changed.
            data += b"\n" * (signed.version % _SIZES)
        write_whole(self.site / "metadata" / name, data)
        return MetaFile(signed.version, hashes={"sha256": hashlib.sha256(data).hexdigest()})

    def _require(self, roles: "tuple[str, ...] | list[str]") -> None:
        """Before anything is written."""
        for role in roles:
            if len(self._keys.signers(role, self._root)) < self._root.roles[role].threshold:
                raise RamnetError(f"{self._keys.folder}: no key there signs {role}")

    def _load(self, name: str, kind: type[_T]) -> "Metadata[_T] | None":
        """The newest of a role that is named by what is above it; None where none is."""
        path = self.site / "metadata" / f"{name}.json"
        if name != "timestamp":
            above = self._load("timestamp", Timestamp)
            if above is not None and name == "targets":
                version = above.signed.snapshot_meta.version
                meta = _parse(self.site / "metadata" / f"{version}.snapshot.json", Snapshot)
                path = path.with_name(f"{meta.signed.meta['targets.json'].version}.targets.json")
            elif above is not None:
                path = path.with_name(f"{above.signed.snapshot_meta.version}.snapshot.json")
        return _parse(path, kind) if path.exists() else None

    def _expiry(self, role: str) -> datetime:
        days = getattr(self._lifetimes, role)
        return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


def _target(path: str, data: bytes, before: TargetFile | None) -> TargetFile:
    document = read_document(data, source=path)
    target = TargetFile.from_data(path, data, ["sha256"])
    last = int((before.custom or {}).get("version", 0)) if before else None
    if before and last is not None and before.hashes != target.hashes and document.version <= last:
        raise PolicyError(
            f"{path}: version {document.version} does not rise above {last}, the published one"
        )
    target.unrecognized_fields["custom"] = {"version": document.version}
    return target


def _parse(path: Path, kind: type[_T]) -> "Metadata[_T]":
    try:
        found = Metadata[_T].from_bytes(read(path, 16 << 20))
    except RepositoryError as error:
        raise RamnetError(f"{path}: {error}") from None
    if not isinstance(found.signed, kind):
        raise RamnetError(f"{path}: is no {kind.type}")
    return found
