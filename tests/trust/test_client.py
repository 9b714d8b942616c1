"""The newest policy, and nothing else than that."""

from typing import Any

import pytest
from tuf.ngclient import Updater

from ramnet.errors import PolicyError
from ramnet.trust.attacks import RefusedError, UnreachableError
from ramnet.trust.bundle import pack, unpack
from ramnet.trust.names import BASE
from ramnet.trust.roots import rotate
from tests.trust.site import Site, policy

DAY = 86400


def test_what_is_published_arrives(site: Site) -> None:
    site.publish(1)
    assert site.fetch().documents == [(BASE, policy(1))]
    site.publish(2)
    found = site.fetch()
    assert found.documents == [(BASE, policy(2))]
    assert site.now + 6 * DAY < found.expires < site.now + 8 * DAY


def test_nothing_new_costs_two_small_requests(site: Site) -> None:
    site.publish(1)
    site.fetch()
    site.server.asked.clear()
    site.fetch()
    assert site.server.asked == ["/metadata/2.root.json", "/metadata/timestamp.json"]
    assert site.server.not_modified == 1
    assert site.fetcher is not None
    assert site.fetcher.received == 0


def test_a_renewed_timestamp_costs_itself_alone(site: Site) -> None:
    site.publish(1, days=1)
    before = site.fetch().expires
    site.repository(7).refresh()
    site.server.asked.clear()
    assert site.fetch().expires > before + 5 * DAY
    assert site.server.asked == ["/metadata/2.root.json", "/metadata/timestamp.json"]


def test_what_was_kept_is_verified_without_the_server(site: Site) -> None:
    site.publish(1)
    site.fetch()
    assert site.kept is not None
    site.kept = unpack(pack(site.kept))
    site.server.asked.clear()
    assert site.verify().documents == [(BASE, policy(1))]
    assert site.server.asked == []


@pytest.mark.parametrize("name", [None, "timestamp.json"])
def test_a_root_of_this_machine_that_is_none_is_no_attack(site: Site, name: str | None) -> None:
    site.publish(1)
    site.fetch()
    site.root = b"root:x:0:0" if name is None else site.metadata(name).read_bytes()
    for ask in (site.fetch, site.verify):
        with pytest.raises(PolicyError, match=r"^\[trust\] root is ") as refused:
            ask()
        assert not isinstance(refused.value, RefusedError)


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
def test_a_kept_piece_that_was_changed_is_refused(site: Site, name: str) -> None:
    site.publish(1)
    kept = site.fetch().bundle
    changed = kept.metadata[name].replace(b'"version":1', b'"version":9')
    assert changed != kept.metadata[name]
    kept.metadata[name] = changed
    with pytest.raises(PolicyError):
        site.verify()


def test_a_kept_document_that_was_changed_is_refused(site: Site) -> None:
    site.publish(1)
    site.fetch().bundle.documents[BASE] = policy(1) + b"docker_hub = true\n"
    with pytest.raises(PolicyError):
        site.verify()


def test_what_is_no_bundle_is_refused() -> None:
    for data in (b"", b"\x80", pack_garbage()):
        with pytest.raises(PolicyError, match="damaged"):
            unpack(data)


def pack_garbage() -> bytes:
    return bytes(range(256))


def test_groups_have_documents_of_their_own(site: Site) -> None:
    site.publish(1, groups={"policies/dev.toml": policy(5)})
    assert [name for name, _ in site.fetch().documents] == [BASE]
    assert [name for name, _ in site.fetch("dev", "../x", "none").documents] == [
        BASE, "policies/dev.toml"
    ]  # fmt: skip
    assert len(site.verify("dev").documents) == 2
    assert len(site.verify("ops").documents) == 1


def test_rotated_keys_are_followed_from_the_first_root(site: Site) -> None:
    site.publish(1)
    site.fetch()
    for version in (2, 3):
        rotate(site.keys, ["root", "timestamp", "snapshot", "targets"])
        site.publish(version)
    assert site.fetch().documents == [(BASE, policy(3))]
    assert site.verify().documents == [(BASE, policy(3))]
    site.kept = None
    assert site.fetch().documents == [(BASE, policy(3))]


def test_a_clock_that_is_behind_revives_nothing_and_expires_nothing(site: Site) -> None:
    site.publish(1, days=1)
    site.fetch()
    before = site.now
    site.now = 0.0  # 1970, as before NTP
    assert site.fetch().bundle.seen == before


def test_another_repository_begins_anew(site: Site) -> None:
    site.publish(1)
    kept = site.fetch().bundle
    site.server.url += "/"
    with pytest.raises(PolicyError, match="is from https"):
        site.verify()
    assert site.fetch().bundle.url != kept.url


@pytest.mark.parametrize("name", ["timestamp.json", "1.targets.json"])
def test_a_missing_file_is_no_attack(site: Site, name: str) -> None:
    site.publish(1)
    site.metadata(name).unlink()
    with pytest.raises(UnreachableError, match=f"{name}: the server says 404"):
        site.fetch()


def test_a_server_without_our_trust_is_not_spoken_to(site: Site) -> None:
    import ssl

    site.publish(1)
    site.context = ssl.create_default_context()
    with pytest.raises(UnreachableError, match="certificate is not trusted"):
        site.fetch()


def test_the_time_reaches_every_check_of_the_library(site: Site) -> None:
    """Fails when python-tuf keeps its reference time elsewhere: then client.py must follow."""
    site.publish(1, days=1)
    site.now += 2 * DAY
    with pytest.raises(PolicyError, match=r"^expired: timestamp\.json"):
        site.fetch()
    site.now -= 2 * DAY
    site.fetch()


def test_a_library_that_cannot_be_told_the_time_is_not_used(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(updater: Updater, *arguments: Any, **options: Any) -> None:
        real(updater, *arguments, **options)
        del updater._trusted_set.reference_time

    real = Updater.__init__
    site.publish(1)
    monkeypatch.setattr(Updater, "__init__", without)
    with pytest.raises(PolicyError, match="cannot be told the time; install one"):
        site.fetch()
