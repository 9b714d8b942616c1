"""Roots: the first one, and those that follow it, with the root's keys here or with their holders.

A new root is laid down as ``next.root.json`` and signed with what is at hand. It is taken up as
``root.json`` once enough keys have signed it (``signing``); until then the one before it stays in
force, and so do the keys that it names.
"""

import copy
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import Metadata, Root

from ramnet.errors import RamnetError
from ramnet.trust.files import write_whole
from ramnet.trust.keys import ONLINE, KeyFolder, load_public, load_unsigned
from ramnet.trust.signing import Draft, sign, take_up


class RootKeys(NamedTuple):
    """Who is to sign roots."""

    own: int | None = None
    """Keys that are made here; None is one at first, one for each that is here when they are
    rotated, and none where others hold them."""
    public: tuple[Path, ...] = ()
    """Public halves of those that others hold."""
    threshold: int | None = None
    """How many must sign; None is as before, and one at first."""


def create_root_key(keys: KeyFolder, passphrase: bytes | None = None) -> Path:
    """A key for one holder of the root; returns its public half. Raises RamnetError."""
    if keys.folder.is_dir() and any(keys.folder.glob("root-*")):
        raise RamnetError(f"{keys.folder}: has a root key already")
    keys.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys.create("root", passphrase)
    return next(keys.folder.glob("root-*.pub"))


def generate(
    keys: KeyFolder,
    root_keys: RootKeys | None = None,
    *,
    days: int = 365,
    passphrase: bytes | None = None,
) -> Draft:
    """Make all keys and the first root. Raises RamnetError."""
    root_keys, folder = _with_own(root_keys or RootKeys(), 1), keys.folder
    if (folder / "root.json").exists() or keys.pending.exists():
        raise RamnetError(f"{folder}: has keys already; --rotate ROLE makes new ones")
    held = _held_elsewhere(root_keys)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = Root(version=1, expires=_in(days), consistent_snapshot=True)
    for role in ONLINE:
        root.add_key(keys.create(role, passphrase).public_key, role)
    _name_root_keys(keys, root, root_keys, held, passphrase)
    return _lay_down(keys, root, None)


def rotate(
    keys: KeyFolder,
    roles: Iterable[str],
    root_keys: RootKeys | None = None,
    *,
    days: int = 365,
    passphrase: bytes | None = None,
) -> Draft:
    """A root that follows the one in force, with new keys for ``roles``.

    ``root_keys`` says who signs from then on, where ``root`` is among the roles. Raises
    RamnetError.
    """
    before, roles = keys.root().signed, dict.fromkeys(roles)
    _check_nothing_waits(keys, before)
    root_keys = _as_before(keys, root_keys or RootKeys(), before) if "root" in roles else None
    held = _held_elsewhere(root_keys) if root_keys else []
    root = copy.deepcopy(before)
    root.version, root.expires = before.version + 1, _in(days)
    for role in roles:
        for keyid in before.roles[role].keyids:
            root.revoke_key(keyid, role)
            if role != "root":
                root.add_key(keys.create(role, passphrase).public_key, role)
    if root_keys:
        _name_root_keys(keys, root, root_keys, held, passphrase)
    return _lay_down(keys, root, before)


def _check_nothing_waits(keys: KeyFolder, before: Root) -> None:
    if not keys.pending.exists():
        return
    if load_unsigned(keys.pending).signed.version > before.version:
        raise RamnetError(
            f"{keys.pending}: waits for signatures already; have it signed, or remove it"
        )


def _with_own(root_keys: RootKeys, count: int) -> RootKeys:
    if root_keys.own is not None:
        return root_keys
    return root_keys._replace(own=0 if root_keys.public else count)


def _as_before(keys: KeyFolder, root_keys: RootKeys, before: Root) -> RootKeys:
    here, named = len(keys.signers("root", before)), len(before.roles["root"].keyids)
    if here < named and root_keys.own is None and not root_keys.public:
        raise RamnetError(
            f"{keys.folder}: {here} of the root's {named} keys are here; name all that are to "
            "follow with --root-pub FILE, or make new ones here with --root-keys"
        )
    threshold = root_keys.threshold or before.roles["root"].threshold
    return _with_own(root_keys, here)._replace(threshold=threshold)


def _held_elsewhere(root_keys: RootKeys) -> list[SSlibKey]:
    found: dict[str, Path] = {}
    held = []
    for path in root_keys.public:
        key = load_public(path)
        if key.keyid in found:
            raise RamnetError(f"{path}: is the same key as {found[key.keyid]}")
        found[key.keyid] = path
        held.append(key)
    count, threshold = (root_keys.own or 0) + len(held), root_keys.threshold or 1
    if threshold > count:
        raise RamnetError(f"{threshold} of {count} root keys cannot be asked for")
    return held


def _name_root_keys(
    keys: KeyFolder,
    root: Root,
    root_keys: RootKeys,
    held: list[SSlibKey],
    passphrase: bytes | None,
) -> None:
    named: list[Key] = list(held)
    named += [keys.create("root", passphrase).public_key for _ in range(root_keys.own or 0)]
    for key in named:
        root.add_key(key, "root")
    root.roles["root"].threshold = root_keys.threshold or 1


def _lay_down(keys: KeyFolder, root: Root, before: Root | None) -> Draft:
    draft = Draft(keys.pending, Metadata(root), before)
    sign(keys, draft)
    write_whole(draft.path, draft.root.to_bytes())
    take_up(keys, draft)
    return draft


def _in(days: int) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
