"""A policy from a signed repository, with the real service, the real child and a real server."""

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from ramnet.daemon.client import ask
from ramnet.errors import RamnetError
from ramnet.trust.names import BASE
from ramnet.trust.publisher import Lifetimes, Repository
from tests.lab.processes import wait_until
from tests.trust import test_attacks as attacks
from tests.trust.server import serving
from tests.trust.site import Site, policy

from .conftest import PATIENCE, Bench, Running
from .connect_proxy import connect_proxy

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: the service changes its user"
)


class Fleet:
    """One server and one machine that has its policy from there."""

    def __init__(self, bench: Bench, site: Site) -> None:
        self.bench, self.site = bench, site
        self.configure()

    def configure(
        self, extra: str = "", refresh: str = "24h", url: str = "", extra_tables: str = ""
    ) -> None:
        """``extra`` goes below ``[trust]``."""
        self.bench.configure(
            f'[trust]\nroot = "{self.site.folder}/keys/root.json"\nrefresh = "{refresh}"\n'
            f'ca = "{self.site.folder}/ca.pem"\n{extra}\n{extra_tables}'
        )
        path = self.bench.folder / "ramnet.toml"
        text = path.read_text().replace(str(self.bench.policy), url or self.site.server.url)
        path.write_text(text)

    @property
    def bundle(self) -> Path:
        return self.bench.state / "policy.bundle"

    def start(self, words: str = "enforcing") -> Running:
        run = self.bench.start()
        run.wait_for(words)
        return run

    def refresh(self) -> dict[str, Any]:
        answer: dict[str, Any] = ask(self.bench.control, "POST", "/v1/refresh", time_limit=60)
        return answer

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = ask(self.bench.control, "GET", "/v1/status")
        return answer

    def version(self) -> int:
        return int(self.bench.ask_gate()["version"])

    def events(self) -> list[dict[str, Any]]:
        lines = (self.bench.state / "service.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def fleet(bench: Bench, authority: trustme.CA) -> Iterator[Fleet]:
    folder = bench.folder / "admin"
    (folder / "site").mkdir(parents=True)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.create_default_context()
    with serving(folder / "site", authority) as server:
        site = Site(folder, server, context)
        site.publish(1)
        yield Fleet(bench, site)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="ramnet test")


def test_the_published_policy_is_in_force(fleet: Fleet) -> None:
    fleet.start()
    assert fleet.version() == 1
    policy = fleet.status()["policy"]
    assert policy["source"] == policy["configured"] == fleet.site.server.url
    assert policy["signed"]["state"] == "fresh"
    assert fleet.bundle.stat().st_mode & 0o777 == 0o600


def test_between_two_fetches_nothing_of_them_takes_memory(fleet: Fleet) -> None:
    """Of what is held in memory files, only the compiled policy is left."""
    run = fleet.start()
    fleet.refresh()
    held = set()
    for file in Path(f"/proc/{run.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            held.add(str(file.readlink()).split()[0])
    held = {name for name in held if "memfd" in name}
    assert held == {"/memfd:policy"}


def test_a_change_is_in_force_at_refresh(fleet: Fleet) -> None:
    fleet.start()
    fleet.site.publish(2)
    began = time.monotonic()
    assert fleet.refresh()["version"] == 2
    assert fleet.version() == 2
    assert time.monotonic() - began < 20  # two seconds are promised; this machine is shared


def test_a_change_is_in_force_by_itself(fleet: Fleet) -> None:
    fleet.configure(refresh="10s")
    run = fleet.start()
    fleet.site.publish(2)
    run.wait_for("is in force")
    assert fleet.version() == 2


def test_the_corporate_proxy_is_the_way_where_there_is_one(fleet: Fleet) -> None:
    with connect_proxy() as proxy:
        fleet.configure(extra_tables=f'[proxy]\nparent = "http://127.0.0.1:{proxy.port}"\n')
        run = fleet.start()
        assert fleet.version() == 1
        assert proxy.connected == [f"127.0.0.1:{fleet.site.server.port}"]
        run.stop()


def test_without_the_server_what_was_kept_is_in_force_at_once(fleet: Fleet) -> None:
    fleet.start().stop()
    fleet.site.server.down = True
    run = fleet.bench.start()
    run.wait_for(f"the policy of {fleet.bundle} is in force")
    run.wait_for("the server says 503")
    assert fleet.version() == 1
    policy = fleet.status()["policy"]
    assert "503" in policy["error"]
    assert policy["source"] == str(fleet.bundle)
    with pytest.raises(RamnetError, match="503"):
        fleet.refresh()


def test_without_server_and_memory_everything_is_refused(fleet: Fleet) -> None:
    fleet.site.server.down = True
    run = fleet.start("there is no policy: everything is refused")
    assert "503" in fleet.bench.ask_gate()["sentence"]
    fleet.site.server.down = False
    fleet.refresh()
    run.wait_for("enforcing")
    assert fleet.version() == 1


def test_a_server_that_fails_is_asked_less_and_refresh_asks_at_once(fleet: Fleet) -> None:
    fleet.configure(refresh="24h")
    fleet.site.server.down = True
    run = fleet.start("there is no policy: everything is refused")
    fleet.site.server.down = False
    run.wait_for("enforcing")  # by itself, and not in a day
    assert fleet.status()["policy"]["signed"]["failures"] == 0
    fleet.site.server.down = True
    for failures in range(1, 7):
        with pytest.raises(RamnetError, match="503"):
            fleet.refresh()
        assert fleet.status()["policy"]["signed"]["failures"] == failures
    fleet.site.server.down = False
    fleet.site.publish(2)
    asked = len(fleet.site.server.asked)
    assert fleet.version() == 1  # it backs off: 80 seconds at the least
    assert len(fleet.site.server.asked) == asked
    assert fleet.refresh()["version"] == 2
    assert fleet.version() == 2
    assert fleet.status()["policy"]["signed"]["failures"] == 0


def expired(site: Site) -> None:
    """All that is offered is new and well signed; what names the documents had its time."""
    keys = site.keys
    Repository(site.server.folder, keys, Lifetimes(targets=-1)).publish({BASE: policy(4)})


ATTACKS = {
    attacks.rollback: "rollback",
    attacks.mix_and_match: "mix-and-match",
    attacks.stolen_snapshot_key: "mix-and-match",
    expired: "expired",
    attacks.wrong_signature: "wrong signature",
    attacks.oversized: "oversized",
    attacks.truncated: "truncated",
    attacks.not_json: "not JSON",
}


def test_each_attack_leaves_the_last_good_policy_and_an_event(fleet: Fleet) -> None:
    """One machine meets them one after the other; the last one is that nothing happens any more."""
    site = fleet.site
    site.save("old")
    site.publish(2)
    fleet.start()
    site.publish(3)
    newest = site.save("newest")
    for attack, name in ATTACKS.items():
        attack(site)
        _refused(fleet, name, version=2)
        shutil.rmtree(site.server.folder)
        shutil.copytree(newest, site.server.folder)
        site.server.lies.clear()
        site.server.cut.clear()
    assert fleet.refresh()["version"] == 3  # it was the attacks that were refused
    expiry = _publish_for_seconds(fleet, 4)
    wait_until("its expiry", lambda: time.time() > expiry, PATIENCE)
    _refused(fleet, "freeze", version=4)


def _refused(fleet: Fleet, name: str, version: int) -> None:
    with pytest.raises(RamnetError, match=f"{name}: "):
        fleet.refresh()
    assert fleet.version() == version
    assert fleet.status()["policy"]["signed"]["attack"] == name
    event = fleet.events()[-1]
    assert event["verdict"] == "refused"
    assert event["reason"].startswith(f"policy refused: {name}: ")
    assert event["reason"].endswith("; the policy in force stays")


def _publish_for_seconds(fleet: Fleet, version: int) -> float:
    """Have a machine take what expires in seconds; returns when, in Unix time."""
    for _ in range(5):  # more than once only where this machine takes seconds for a fetch
        fleet.site.publish(version, days=4 / 86400)
        expiry = time.time() + 5  # of whole seconds
        with contextlib.suppress(RamnetError):
            fleet.refresh()
            return expiry
    raise AssertionError("no fetch was quick enough")


def test_a_signed_document_that_cannot_be_read_is_not_taken(fleet: Fleet) -> None:
    fleet.start()
    before = fleet.bundle.read_bytes()
    bad = b"version = 2\nregistries = 1\n"
    from tuf.api.metadata import TargetFile

    import ramnet.trust.publisher as publisher

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            publisher, "_target", lambda path, data, _: TargetFile.from_data(path, data, ["sha256"])
        )
        fleet.site.repository().publish({"policy.toml": bad})
    with pytest.raises(RamnetError, match=r"policy\.toml:2: registries"):
        fleet.refresh()
    assert fleet.version() == 1
    assert fleet.bundle.read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign"])
def test_what_was_kept_is_verified_at_the_start(fleet: Fleet, damage: str) -> None:
    fleet.start().stop()
    data = bytearray(fleet.bundle.read_bytes())
    place = data.index(b"organization")
    if damage == "flipped":
        data[place] ^= 1
    fleet.bundle.write_bytes(data[:place] if damage == "cut" else data)
    if damage == "foreign":
        fleet.configure(url=fleet.site.server.url + "/elsewhere")
    fleet.site.server.down = True
    fleet.start("there is no policy: everything is refused")


@pytest.mark.parametrize(("on_stale", "version"), [("refuse", 0), ("keep", 1)])
def test_beyond_grace(fleet: Fleet, on_stale: str, version: int) -> None:
    fleet.configure(f'grace = "1s"\non_stale = "{on_stale}"')
    run = fleet.start()
    _publish_for_seconds(fleet, 1)
    fleet.site.server.down = True
    run.wait_for("the policy is overdue")
    if on_stale == "refuse":
        run.wait_for("refusing")
    words = "The policy has not been renewed and expired at"
    wait_until("the sentence", lambda: words in fleet.bench.ask_gate()["sentence"], PATIENCE)
    assert fleet.version() == version
    status = fleet.status()
    assert status["policy"]["signed"]["state"] == "overdue"
    assert any("the policy expired at" in warning for warning in status["warnings"])
    fleet.site.server.down = False
    fleet.site.publish(1)
    fleet.refresh()
    run.wait_for("the policy is fresh")
    assert words not in fleet.bench.ask_gate()["sentence"]
    assert fleet.version() == 1


def test_a_killed_service_leaves_a_whole_bundle(fleet: Fleet) -> None:
    """kill -9 while it writes: the temporary file may be torn, the bundle never is."""
    fleet.start()
    asked = fleet.site.server.asked
    for version, questions in ((2, 1), (4, 4)):  # as the fetch begins, and near its end
        fleet.site.publish(version)
        enough = len(asked) + questions
        asking = subprocess.Popen(
            ["curl", "-s", "--unix-socket", str(fleet.bench.control), "-X", "POST",
             "http://ramnet/v1/refresh"], stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until("the fetch", partial(_counts, asked, enough), PATIENCE)
        fleet.bench.runs[-1].stop(9)
        asking.wait()
        fleet.site.server.down = True
        run = fleet.bench.start()
        run.wait_for(f"the policy of {fleet.bundle} is in force")
        fleet.site.server.down = False
        fleet.refresh()
        assert fleet.version() == version


def _counts(asked: list[str], enough: int) -> bool:
    return len(asked) >= enough
