"""Signing a root, each holder apart, and taking it up once enough have signed.

A first root is signed by its own threshold of keys; one that follows another by that of the other
as well (TUF specification, section 6.1). What is handed about is one file, ``next.root.json``;
copies that were signed apart are brought together.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tuf.api.metadata import Metadata, Root

from ramnet.errors import RamnetError
from ramnet.trust.files import write_whole
from ramnet.trust.keys import ONLINE, PENDING, ROLES, KeyFolder, load_root, load_unsigned

_SHOWN = 16
"""Digits of a key's id that people read."""


class Draft(NamedTuple):
    """A root, and the one that it is to follow."""

    path: Path
    """The file in which its signatures are gathered."""
    root: Metadata[Root]
    before: Root | None
    """None for the first."""

    @property
    def missing(self) -> list[str]:
        """Whose signatures it lacks, in words; empty when it has enough."""
        found = _verify(self)
        parts = [("of its own root keys", found.second)]
        if self.before is not None:
            parts.insert(0, (f"of the root keys of version {self.before.version}", found.first))
        return [
            f"{part.missing} {whose}, that is of {_names(part.unsigned)}"
            for whose, part in parts
            if part.missing
        ]


def examine(keys: KeyFolder, path: Path) -> Draft:
    """What ``path`` would have signed; with what the folder's own copy has been signed with.

    Raises RamnetError: it is no root, does not follow the one in force, is another one than what
    waits in the folder, or has a signature that is none of its holders'.
    """
    home = home_of(keys, path)
    root = load_unsigned(path)
    draft = Draft(path, root, _before(root.signed, path, home or keys))
    _check_keys(draft)
    _check_signatures(draft)
    if home is None or not home.pending.exists() or home.pending.samefile(path):
        return draft
    waiting = load_unsigned(home.pending)
    if waiting.signed_bytes != root.signed_bytes:
        raise RamnetError(f"{path}: is another root than {home.pending}")
    waiting.signatures.update(root.signatures)
    draft = draft._replace(path=home.pending, root=waiting)
    _check_signatures(draft)
    return draft


def home_of(keys: KeyFolder, path: Path) -> KeyFolder | None:
    """The folder in which that root is taken up: the one that publishes; None: it is not here."""
    beside = KeyFolder(path.parent)
    if path.name == PENDING and any(any(path.parent.glob(f"{role}-*.key*")) for role in ONLINE):
        return beside
    return keys if keys.pending.exists() else None


def sign(keys: KeyFolder, draft: Draft) -> list[str]:
    """Sign with the root keys that are here and that either root names; returns their ids."""
    signers = keys.signers("root", *_roots(draft))
    for signer in signers:
        draft.root.sign(signer, append=True)
    return [str(signer.public_key.keyid) for signer in signers]


def add(keys: KeyFolder, draft: Draft, path: Path) -> bool:
    """Sign what ``examine`` found in ``path``, keep that, and take it up; False: not yet.

    Raises RamnetError where this adds nothing to what is missing.
    """
    added = sign(keys, draft)
    if draft.missing and not added and draft.path == path:
        raise RamnetError(_why_nothing_was_added(keys, draft))
    write_whole(draft.path, draft.root.to_bytes())
    home = home_of(keys, draft.path)
    return home is not None and take_up(home, draft)


def _why_nothing_was_added(keys: KeyFolder, draft: Draft) -> str:
    if keys.signers("root"):
        return (
            f"{keys.folder}: none of its root keys is named by {draft.path} or the root before "
            "it; nothing is signed"
        )
    return f"{draft.path}: is not in force: it lacks {'; '.join(draft.missing)}"


def take_up(home: KeyFolder, draft: Draft) -> bool:
    """Put it in force in its folder, and retire keys that it does not name; False: too early."""
    if draft.missing:
        return False
    retired = home.unnamed(draft.root.signed)
    data = draft.root.to_bytes()
    write_whole(home.folder / f"{draft.root.signed.version}.root.json", data)
    write_whole(home.folder / "root.json", data)
    for path in retired:
        path.rename(path.with_name(f"{path.name}.retired"))
    home.pending.unlink(missing_ok=True)
    return True


def describe(draft: Draft) -> dict[str, Any]:
    """What a holder signs, by plain values: for people and for JSON."""
    root = draft.root.signed
    return {
        "version": root.version,
        "expires": root.expires.isoformat(),
        "follows": draft.before.version if draft.before else None,
        "roles": {role: _describe_role(root, draft.before, role) for role in ROLES},
        "signed": sorted(_verify(draft).signed),
        "missing": draft.missing,
    }


def short(keyid: str) -> str:
    """A key's id as people compare it."""
    return "".join(c if c.isprintable() else "?" for c in keyid[:_SHOWN])


def _describe_role(root: Root, before: Root | None, role: str) -> dict[str, Any]:
    now = root.roles[role].keyids
    was = before.roles[role].keyids if before else []
    return {
        "threshold": root.roles[role].threshold,
        "keys": list(now),
        "new": [keyid for keyid in now if keyid not in was],
        "gone": [keyid for keyid in was if keyid not in now],
    }


def _before(root: Root, path: Path, keys: KeyFolder) -> Root | None:
    """The root that this one follows: from the folder of keys, or from beside the file."""
    for folder in (keys.folder, path.parent):
        if (folder / "root.json").exists():
            found = load_root(folder / "root.json").signed
            if found.version != root.version - 1:
                raise RamnetError(
                    f"{path}: is version {root.version}, and {folder}/root.json is version "
                    f"{found.version}: it does not follow it"
                )
            return found
    if root.version != 1:
        raise RamnetError(
            f"{path}: is version {root.version}, and the root before it is not here; put that "
            f"root.json into {path.parent}"
        )
    return None


def _check_keys(draft: Draft) -> None:
    """One key under two ids would count twice."""
    root = draft.root.signed
    for role in ROLES:
        values = [str(root.keys[keyid].keyval) for keyid in root.roles[role].keyids]
        if len(set(values)) != len(values):
            raise RamnetError(f"{draft.path}: names one key of {role} twice")


def _check_signatures(draft: Draft) -> None:
    found = _verify(draft)
    for keyid in draft.root.signatures:
        if keyid in found.unsigned:
            raise RamnetError(f"{draft.path}: the signature of key {short(keyid)} does not fit it")
        if keyid not in found.signed:
            raise RamnetError(
                f"{draft.path}: is signed by {short(keyid)}, a root key that neither it nor the "
                "root before it names"
            )


def _verify(draft: Draft) -> Any:
    """python-tuf's ``RootVerificationResult``."""
    root = draft.root
    return root.signed.get_root_verification_result(
        draft.before, root.signed_bytes, root.signatures
    )


def _roots(draft: Draft) -> list[Root]:
    return [draft.root.signed] if draft.before is None else [draft.before, draft.root.signed]


def _names(keyids: Iterable[str]) -> str:
    return ", ".join(sorted(short(keyid) for keyid in keyids))
