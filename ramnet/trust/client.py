"""The newest policy of a repository, or what is wrong with what the server offers.

The rules are those of python-tuf's ``Updater``. It works on files, so it is given a folder of its
own, below the working directory, with what was kept, and what it leaves there is the new bundle;
a fetch that fails at any point leaves nothing.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote

import tuf
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater, UpdaterConfig

from ramnet.errors import PolicyError, RamnetError
from ramnet.trust.attacks import RefusedError, UnreachableError, explain
from ramnet.trust.bundle import MAX_DOCUMENT, Bundle
from ramnet.trust.fetcher import HttpsFetcher, KeptFetcher
from ramnet.trust.names import BASE, group_path

_ROLES: Final = ("timestamp", "snapshot", "targets")
_LIMITS: Final = UpdaterConfig(
    max_root_rotations=64, snapshot_max_length=1 << 20, targets_max_length=4 << 20
)


class Source(NamedTuple):
    """Which repository, and whom to believe."""

    url: str
    root: bytes
    groups: tuple[str, ...] = ()
    """Of the person who is signed in; each may have a document beside the one for all."""


class Verified(NamedTuple):
    """What is good, and until when."""

    bundle: Bundle
    documents: list[tuple[str, bytes]]
    """By name; the one for everybody first."""
    expires: float
    """Unix time at which the first piece of metadata expires."""


class _Fetcher(Protocol):
    file: str


def fetch(source: Source, kept: Bundle | None, fetcher: HttpsFetcher, now: float) -> Verified:
    """Ask the server. ``now`` is Unix time, and never before the last time that was seen.

    Raises:
        RefusedError: the server offers what must not be taken.
        UnreachableError: it does not answer, or not with what was asked for.
    """
    kept = kept if kept and kept.url == source.url else None
    now = max(now, kept.seen if kept else 0.0)
    with _at_work(fetcher, kept):
        return _update(source, kept, fetcher, now)


def verify(source: Source, kept: Bundle) -> Verified:
    """Verify what was kept, as of the time at which it was fetched; nothing is asked for.

    Raises:
        PolicyError: it is from elsewhere, or not what the trusted root's delegates signed.
    """
    if kept.url != source.url:
        raise PolicyError(f"what was kept is from {kept.url}")
    there = tuple(g for g, path in _paths(source.groups) if path in kept.documents)
    source = source._replace(groups=there)
    fetcher = KeptFetcher(kept.metadata.get("timestamp.json", b""))
    with _at_work(fetcher, kept):
        return _update(source, kept, fetcher, kept.seen)


@contextlib.contextmanager
def _at_work(fetcher: _Fetcher, kept: Bundle | None) -> Iterator[None]:
    logging.getLogger("tuf").addHandler(logging.NullHandler())
    try:
        yield
    except (RepositoryError, DownloadError) as error:
        raise explain(error, file=fetcher.file, known=kept is not None) from error


def _update(
    source: Source, kept: Bundle | None, fetcher: HttpsFetcher | KeptFetcher, now: float
) -> Verified:
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        _lay_out(folder, kept)
        base = source.url.rstrip("/")
        _check_root(source.root)
        updater = Updater(
            str(folder), f"{base}/metadata/", str(folder / "targets"), f"{base}/targets/",
            fetcher, _LIMITS, bootstrap=source.root,
        )  # fmt: skip
        _set_reference_time(updater, now)
        updater.refresh()
        documents = list(_documents(updater, source.groups))
        etag = fetcher.etag if isinstance(fetcher, HttpsFetcher) else kept.etag if kept else ""
        bundle = Bundle(source.url, now, dict(_gather(folder)), dict(documents), etag)
        return Verified(bundle, documents, _first_expiry(folder))


def _check_root(root: bytes) -> None:
    """What is wrong with this machine's own file is no attack of the server's."""
    try:
        found = Metadata.from_bytes(root)
    except RepositoryError as error:
        raise PolicyError(f"[trust] root is not a root.json of policy keygen: {error}") from None
    if found.signed.type != "root":
        raise PolicyError(f"[trust] root is a {found.signed.type}.json, not a root.json")


def _set_reference_time(updater: Updater, now: float) -> None:
    """Have everything judged as of ``now``: the clock may be wrong before NTP.

    ``Updater`` takes the clock's word and has no public way to be told another time (python-tuf
    7.0; tuf-on-ci's own client sets the same attribute). A version that has it elsewhere is not
    used at all, rather than with a clock that anybody may have set.
    """
    trusted = getattr(updater, "_trusted_set", None)
    if not isinstance(getattr(trusted, "reference_time", None), datetime):
        raise PolicyError(
            f"python-tuf {tuf.__version__} cannot be told the time; install one that "
            "ramnet's pyproject.toml names"
        )
    assert trusted is not None
    trusted.reference_time = datetime.fromtimestamp(now, UTC)


def _first_expiry(folder: Path) -> float:
    """Of the metadata that the updater has verified and left there."""
    names = [f"{role}.json" for role in ("root", *_ROLES)]
    found = [Metadata.from_bytes((folder / name).read_bytes()) for name in names]
    return min(metadata.signed.expires.timestamp() for metadata in found)


def _lay_out(folder: Path, kept: Bundle | None) -> None:
    (folder / "targets").mkdir()
    (folder / "root_history").mkdir()
    if kept is None:
        return
    for name, data in kept.metadata.items():
        where = folder / "root_history" if name.endswith(".root.json") else folder
        (where / quote(name, "")).write_bytes(data)
    for name, data in kept.documents.items():
        (folder / "targets" / quote(name, "")).write_bytes(data)


def _gather(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((folder / "root_history").iterdir()):
        yield path.name, path.read_bytes()
    for role in _ROLES:
        yield f"{role}.json", (folder / f"{role}.json").read_bytes()


def _documents(updater: Updater, groups: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for path in (BASE, *(path for _, path in _paths(groups))):
        info = updater.get_targetinfo(path)
        if info is None:
            if path == BASE:
                raise UnreachableError(f"the repository has no {BASE}")
            continue
        if info.length > MAX_DOCUMENT:
            raise RefusedError("oversized", f"{path}: larger than {MAX_DOCUMENT} bytes")
        where = updater.find_cached_target(info) or updater.download_target(info)
        data = Path(where).read_bytes()
        info.verify_length_and_hashes(data)  # what is used, and not what was there a moment ago
        yield path, data


def _paths(groups: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Groups and their documents; a token may say anything, and no name has no document."""
    for group in groups:
        with contextlib.suppress(RamnetError):
            yield group, group_path(group)
