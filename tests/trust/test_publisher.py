"""Keys and repository, by the commands that an administrator types."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tuf.api.metadata import Metadata, Root, Timestamp

from ramnet import cli

PASSPHRASE = "correct horse"


class Desk:
    """An administrator's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys, self.site = folder, folder / "keys", folder / "site"
        self.policy = folder / "policy.toml"
        self.write(1)

    def write(self, version: int, text: str = "") -> None:
        self.policy.write_text(f"version = {version}\n{text}")

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.main, ["policy", *arguments])

    def keygen(self, *options: str) -> Result:
        return self.run("keygen", str(self.keys), *options)

    def publish(self, *options: str) -> Result:
        return self.run(
            "publish", str(self.policy), "--keys", str(self.keys), "--to", str(self.site), *options
        )

    def refresh(self) -> Result:
        return self.run("publish", "--refresh", "--keys", str(self.keys), "--to", str(self.site))

    def metadata(self) -> set[str]:
        return {path.name for path in (self.site / "metadata").iterdir()}

    def targets(self) -> list[str]:
        found = (self.site / "targets").rglob("*.toml")
        return sorted(str(path.relative_to(self.site / "targets")) for path in found)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_keys_are_for_their_owner_alone(desk: Desk) -> None:
    assert desk.keygen("--root-keys", "3", "--root-threshold", "2").exit_code == 0
    files = sorted(path.name for path in desk.keys.glob("*.key"))
    assert files == ["root-1.key", "root-2.key", "root-3.key",
                     "snapshot-1.key", "targets-1.key", "timestamp-1.key"]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in desk.keys.glob("*.key")} == {0o600}
    assert stat.S_IMODE(desk.keys.stat().st_mode) == 0o700
    root = Metadata[Root].from_file(str(desk.keys / "root.json")).signed
    assert (len(root.roles["root"].keyids), root.roles["root"].threshold) == (3, 2)
    again = desk.keygen()
    assert (again.exit_code, "has keys already" in again.stderr) == (1, True)


def test_a_key_that_others_may_read_is_refused(desk: Desk) -> None:
    desk.keygen()
    (desk.keys / "targets-1.key").chmod(0o640)
    result = desk.publish()
    assert (result.exit_code, "targets-1.key: others may read it" in result.stderr) == (1, True)
    assert not desk.site.exists()


def test_encrypted_keys_need_their_passphrase(desk: Desk) -> None:
    secret = desk.folder / "secret"
    secret.write_text(f"{PASSPHRASE}\n")
    assert desk.keygen("--passphrase-file", str(secret)).exit_code == 0
    assert b"ENCRYPTED" in (desk.keys / "root-1.key").read_bytes()
    assert "is encrypted; say --passphrase-file" in desk.publish().stderr
    assert desk.publish("--passphrase-file", str(secret)).exit_code == 0
    secret.write_text("another\n")
    assert "or the passphrase is another one" in desk.publish(
        "--passphrase-file", str(secret)
    ).stderr  # fmt: skip


def test_the_root_is_needed_for_no_publishing(desk: Desk) -> None:
    desk.keygen()
    (desk.keys / "root-1.key").unlink()
    assert desk.publish().exit_code == 0
    assert desk.metadata() == {
        "1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"
    }  # fmt: skip
    desk.write(2)
    assert desk.publish().exit_code == 0
    assert desk.metadata() >= {"2.targets.json", "2.snapshot.json"}
    assert len(desk.targets()) == 2


def test_refresh_renews_the_timestamp_alone(desk: Desk) -> None:
    desk.keygen()
    assert "nothing is published there yet" in desk.refresh().stderr
    desk.publish("--timestamp-days", "0.01")
    before = desk.metadata()
    first = Metadata[Timestamp].from_file(str(desk.site / "metadata" / "timestamp.json")).signed
    for role in ("root", "targets", "snapshot"):
        (desk.keys / f"{role}-1.key").unlink()
    assert desk.refresh().exit_code == 0
    second = Metadata[Timestamp].from_file(str(desk.site / "metadata" / "timestamp.json")).signed
    assert desk.metadata() == before
    assert (first.version, second.version) == (1, 2)
    assert second.expires > first.expires
    assert second.snapshot_meta == first.snapshot_meta


def test_timestamps_of_one_second_have_different_sizes(desk: Desk) -> None:
    """An ETag is often made of seconds and size alone; see tests/trust/fleet.py, where it hit."""
    desk.keygen()
    desk.publish()
    sizes = set()
    for _ in range(5):
        desk.refresh()
        sizes.add((desk.site / "metadata" / "timestamp.json").stat().st_size)
    assert len(sizes) == 5


def test_a_changed_policy_must_rise(desk: Desk) -> None:
    desk.keygen()
    assert desk.publish().exit_code == 0
    assert desk.publish().exit_code == 0  # the same again
    desk.write(1, "docker_hub = false\n")
    result = desk.publish()
    assert result.exit_code == 1
    assert "version 1 does not rise above 1, the published one" in result.stderr


def test_what_validate_refuses_is_not_published(desk: Desk) -> None:
    desk.keygen()
    desk.write(1, "presets = ['ecr']\n")
    result = desk.publish()
    assert result.exit_code == 1
    assert f"{desk.policy}:2: presets[0]: refused" in result.stdout
    assert not desk.site.exists()


def test_policies_of_groups(desk: Desk) -> None:
    desk.keygen()
    group = desk.folder / "dev.toml"
    group.write_text("version = 1\n")
    assert desk.publish("--group", f"dev={group}").exit_code == 0
    assert [name.partition("/")[0] for name in desk.targets()].count("policies") == 1
    assert desk.publish("--group", f"../x={group}").exit_code == 1
    assert desk.publish("--group", "dev").exit_code == 2


def test_rotation_needs_the_root_and_is_signed_by_old_and_new(desk: Desk) -> None:
    desk.keygen()
    desk.publish()
    assert desk.keygen("--rotate", "root", "--rotate", "timestamp").exit_code == 0
    old = Metadata[Root].from_file(str(desk.keys / "1.root.json"))
    new = Metadata[Root].from_file(str(desk.keys / "2.root.json"))
    old.verify_delegate("root", new)
    new.verify_delegate("root", new)
    for role in ("root", "timestamp"):
        assert not set(old.signed.roles[role].keyids) & set(new.signed.roles[role].keyids)
    assert desk.refresh().exit_code == 0
    assert "2.root.json" in desk.metadata()
    (desk.keys / "root-2.key").unlink()
    result = desk.keygen("--rotate", "root")
    assert (result.exit_code, "0 of the root's 1 keys are here" in result.stderr) == (1, True)


def test_after_the_rotation_of_another_key_refresh_asks_for_all(desk: Desk) -> None:
    desk.keygen()
    desk.publish()
    desk.keygen("--rotate", "targets")
    assert "publish the policy in full" in desk.refresh().stderr
    assert desk.publish().exit_code == 0
    assert desk.refresh().exit_code == 0


def test_json(desk: Desk) -> None:
    assert json.loads(desk.keygen("--json").stdout)["keys"]["root"] == 1
    assert json.loads(desk.publish("--json").stdout)["targets"] == 1
    assert desk.run("publish", "--keys", str(desk.keys), "--to", str(desk.site)).exit_code == 2
