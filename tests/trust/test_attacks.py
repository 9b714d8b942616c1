"""An attacker's repository for each attack: refused by its name, and the last good one stays."""

import json
import shutil
import time
from collections.abc import Callable

import pytest
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp

from ramnet.trust.attacks import RefusedError
from ramnet.trust.keys import KeyFolder
from ramnet.trust.publisher import Repository
from ramnet.trust.roots import generate
from tests.trust.site import Site, policy

DAY = 86400


def rollback(site: Site) -> None:
    """The whole repository as it was before; all of it is properly signed."""
    _serve(site, "old")


def rollback_of_the_snapshot(site: Site) -> None:
    """A stolen timestamp key names the old snapshot again."""
    _sign_timestamp(site, snapshot=1)


def stolen_snapshot_key(site: Site) -> None:
    """Whoever has it, and the server, names the policy of before under the newest number."""
    _sign_snapshot(site, "3.snapshot.json", targets=2)


def stolen_snapshot_key_and_no_hash(site: Site) -> None:
    """The same, and older still, where the timestamp is of a publisher that names no hash."""
    _sign_timestamp(site, snapshot=3, hashed=False)
    _sign_snapshot(site, "3.snapshot.json", targets=1)


def stolen_snapshot_key_and_a_number_of_its_own(site: Site) -> None:
    """A snapshot that no timestamp names is not looked at; what is named is still good."""
    _sign_snapshot(site, "4.snapshot.json", targets=1)
    site.metadata("3.snapshot.json").unlink()
    site.metadata("4.snapshot.json").rename(site.metadata("3.snapshot.json"))


def freeze(site: Site) -> None:
    """The same as ever, for longer than it is good."""
    site.now += 8 * DAY


def mix_and_match(site: Site) -> None:
    """New timestamp, old snapshot under the new one's name."""
    shutil.copy(site.metadata("2.snapshot.json"), site.metadata("3.snapshot.json"))


def mixed_targets(site: Site) -> None:
    shutil.copy(site.metadata("1.targets.json"), site.metadata("3.targets.json"))


def expired_targets(site: Site) -> None:
    """Renewed for ever by whoever has the timestamp's key alone."""
    site.now += 400 * DAY
    _sign_timestamp(site, snapshot=3, days=1000)


def wrong_signature(site: Site) -> None:
    """A repository of keys that the root does not name."""
    keys = KeyFolder(site.folder / "evil")
    generate(keys)
    shutil.rmtree(site.server.folder)
    for version in range(1, 6):
        Repository(site.server.folder, keys).publish({"policy.toml": policy(version)})
    for path in (site.server.folder / "metadata").glob("*.root.json"):
        path.unlink()


def another_root(site: Site) -> None:
    """A next root that the one before has not signed."""
    keys = KeyFolder(site.folder / "evil")
    root = generate(keys).root
    root.signed.version = 2
    root.signatures.clear()
    root.sign(keys.signers("root")[0])
    site.metadata("2.root.json").write_bytes(root.to_bytes())


def changed_document(site: Site) -> None:
    [path] = [p for p in (site.server.folder / "targets").iterdir() if b"= 3" in p.read_bytes()]
    site.server.lies[path.name] = policy(4)


def oversized(site: Site) -> None:
    site.server.lies["timestamp.json"] = b" " * (1 << 20)


def endless_document(site: Site) -> None:
    [path] = [p for p in (site.server.folder / "targets").iterdir() if b"= 3" in p.read_bytes()]
    site.server.lies[path.name] = b"#" * (1 << 20)


def truncated(site: Site) -> None:
    site.server.cut.add("timestamp.json")


def not_json(site: Site) -> None:
    site.server.lies["timestamp.json"] = b"<html>please sign in to this hotel</html>"


def other_json(site: Site) -> None:
    site.server.lies["timestamp.json"] = json.dumps({"signed": 7}).encode()


def wrong_role(site: Site) -> None:
    site.server.lies["timestamp.json"] = site.metadata("3.snapshot.json").read_bytes()


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (rollback, "rollback"),
        (rollback_of_the_snapshot, "rollback"),
        (stolen_snapshot_key, "mix-and-match"),
        (stolen_snapshot_key_and_no_hash, "rollback"),
        (stolen_snapshot_key_and_a_number_of_its_own, "mix-and-match"),
        (freeze, "freeze"),
        (mix_and_match, "mix-and-match"),
        (mixed_targets, "mix-and-match"),
        (expired_targets, "expired"),
        (wrong_signature, "wrong signature"),
        (another_root, "wrong signature"),
        (changed_document, "wrong content"),
        (oversized, "oversized"),
        (endless_document, "oversized"),
        (truncated, "truncated"),
        (not_json, "not JSON"),
        (other_json, "not JSON"),
        (wrong_role, "malformed"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_attack(site: Site, attack: Callable[[Site], None], name: str) -> None:
    site.publish(1)
    site.save("old")
    site.publish(2)
    site.fetch()
    kept = site.kept
    site.publish(3)
    attack(site)
    with pytest.raises(RefusedError) as refused:
        site.fetch()
    assert refused.value.attack == name
    assert str(refused.value).startswith(f"{name}: ")
    assert site.kept is kept
    assert site.verify().documents == [("policy.toml", policy(2))]


def test_without_an_attack_the_same_is_taken(site: Site) -> None:
    site.publish(1)
    site.publish(2)
    site.fetch()
    site.publish(3)
    assert site.fetch().documents == [("policy.toml", policy(3))]


def test_a_stolen_snapshot_key_gives_a_new_machine_no_old_policy(site: Site) -> None:
    """One that has seen nothing yet, and knows no number that could fall."""
    site.publish(1)
    site.publish(2)
    _sign_snapshot(site, "2.snapshot.json", targets=1)
    with pytest.raises(RefusedError, match=r"^mix-and-match: 2\.snapshot\.json"):
        site.fetch()
    assert site.kept is None


def test_an_old_repository_for_a_new_machine_is_expired(site: Site) -> None:
    site.publish(1)
    site.now += 8 * DAY
    with pytest.raises(RefusedError, match=r"^expired: ") as refused:
        site.fetch()
    assert refused.value.attack == "expired"


def test_a_clock_set_back_does_not_revive_what_had_expired(site: Site) -> None:
    site.publish(1, days=1)
    site.fetch()
    site.publish(2, days=30)
    site.now += 10 * DAY
    site.fetch()
    site.publish(3, days=1)  # expires before what was seen last
    site.now = time.time()
    with pytest.raises(RefusedError):
        site.fetch()


def test_a_server_that_dawdles_is_given_up(site: Site) -> None:
    site.publish(1)
    with pytest.raises(RefusedError, match=r"^slow retrieval: "):
        site.fetch(seconds=-1)


def _serve(site: Site, name: str) -> None:
    shutil.rmtree(site.server.folder)
    shutil.copytree(site.folder / name, site.server.folder)


def _sign_snapshot(site: Site, name: str, *, targets: int) -> None:
    metadata = Metadata[Snapshot].from_file(str(site.metadata("2.snapshot.json")))
    metadata.signed.version = int(name.partition(".")[0])
    metadata.signed.meta["targets.json"] = MetaFile(targets)
    metadata.sign(site.keys.signers("snapshot")[0])
    site.metadata(name).write_bytes(metadata.to_bytes())


def _sign_timestamp(site: Site, *, snapshot: int, days: float = 7, hashed: bool = True) -> None:
    path = site.metadata("timestamp.json")
    metadata = Metadata[Timestamp].from_file(str(path))
    metadata.signed.snapshot_meta.version = snapshot
    if not hashed:
        metadata.signed.snapshot_meta.hashes = None
    metadata.signed.version += 1
    metadata.signed.expires = metadata.signed.expires.replace(year=2040)
    metadata.sign(site.keys.signers("timestamp")[0])
    path.write_bytes(metadata.to_bytes())
