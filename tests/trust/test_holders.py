"""The root's keys with several people: each signs apart, and nothing is taken up too early."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from ramnet.trust.names import BASE
from tests.trust.site import Site, policy
from tests.trust.test_publisher import Desk

RAMNET = str(Path(sys.executable).with_name("ramnet"))


class Board(Desk):
    """People with a key each, and the folder that publishes."""

    @property
    def next(self) -> Path:
        return self.keys / "next.root.json"

    def join(self, *people: str) -> None:
        for person in people:
            done = self.run("keygen", str(self.folder / person), "--root-only")
            assert done.exit_code == 0, done.output

    def pub(self, person: str) -> Path:
        return self.folder / person / "root-1.pub"

    def named(self, *people: str) -> list[str]:
        return [word for p in people for word in ("--root-pub", str(self.pub(p)))]

    def found(self, *people: str) -> None:
        """A repository whose root two of these people sign."""
        self.join(*people)
        done = self.keygen(*self.named(*people), "--root-threshold", "2")
        assert done.exit_code == 0, done.output

    def sign(self, person: str, path: Path | None = None) -> tuple[int, str]:
        done = self.run("keygen", str(self.folder / person), "--sign", str(path or self.next))
        return done.exit_code, done.output

    def id_of(self, person: str) -> str:
        from ramnet.trust.keys import load_public

        return str(load_public(self.pub(person)).keyid)[:16]

    def root(self, path: Path | None = None) -> Metadata[Root]:
        return Metadata[Root].from_file(str(path or self.keys / "root.json"))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_by_the_command_that_people_type(tmp_path: Path) -> None:
    """From nothing, and a rotation from two of two to two others."""

    def ramnet(line: str, *, fails: bool = False) -> str:
        done = subprocess.run(
            [RAMNET, "policy", *line.split()], cwd=tmp_path, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    (tmp_path / "policy.toml").write_text("version = 1\n")
    for person in ("alice", "bob", "carol"):
        assert "root-1.pub: key " in ramnet(f"keygen {person} --root-only")
    pubs = "--root-pub alice/root-1.pub --root-pub bob/root-1.pub --root-threshold 2"
    said = ramnet(f"keygen keys {pubs}")
    assert "not in force yet: it lacks 2 of its own root keys" in said
    assert "waits for signatures" in ramnet("publish policy.toml --keys keys --to site", fails=True)
    assert "it lacks 1 of its own" in ramnet("keygen alice --sign keys/next.root.json")
    assert "version 1 is in force" in ramnet("keygen bob --sign keys/next.root.json")
    ramnet("publish policy.toml --keys keys --to site")
    first = (tmp_path / "keys/root.json").read_bytes()

    pubs = "--root-pub bob/root-1.pub --root-pub carol/root-1.pub"
    ramnet(f"keygen keys --rotate root --rotate timestamp {pubs}")
    ramnet("keygen carol --sign keys/next.root.json")
    said = ramnet("keygen bob --sign keys/next.root.json")
    assert "it lacks 1 of the root keys of version 1" in said  # alice's; the new two have signed
    assert (tmp_path / "keys/root.json").read_bytes() == first
    ramnet("publish --refresh --keys keys --to site")  # by the old key, still in force
    assert "version 2 is in force" in ramnet("keygen alice --sign keys/next.root.json")
    names = {path.name for path in (tmp_path / "keys").iterdir()}
    assert names >= {"1.root.json", "2.root.json", "timestamp-1.key.retired", "timestamp-2.key"}
    assert not names & {"next.root.json", "timestamp-1.key"}
    ramnet("publish --refresh --keys keys --to site")
    assert {p.name for p in (tmp_path / "site/metadata").iterdir()} >= {
        "1.root.json",
        "2.root.json",
    }


def test_nothing_is_taken_up_and_what_is_missing_is_named(board: Board) -> None:
    board.found("alice", "bob")
    assert sorted(path.name for path in board.keys.glob("*.json")) == ["next.root.json"]
    assert not list(board.keys.glob("root-*"))
    code, said = board.sign("alice")
    assert (code, f"1 of its own root keys, that is of {board.id_of('bob')}\n" in said) == (0, True)
    code, said = board.sign("keys")  # who publishes has no key, and cannot put it in force
    assert (code, "next.root.json: is not in force: it lacks 1 of its own" in said) == (1, True)
    assert board.id_of("bob") in said
    assert not (board.keys / "root.json").exists()
    assert board.publish().exit_code == 1
    again = board.keygen()
    assert (again.exit_code, "has keys already" in again.output) == (1, True)


def test_a_strangers_signature_is_refused(board: Board) -> None:
    board.found("alice", "bob")
    board.join("mallory")
    before = board.next.read_bytes()
    code, said = board.sign("mallory")
    assert (code, "none of its root keys is named by" in said) == (1, True)
    assert board.next.read_bytes() == before
    root = board.root(board.next)
    from ramnet.trust.keys import KeyFolder

    root.sign(KeyFolder(board.folder / "mallory").signers("root")[0], append=True)
    board.next.write_bytes(root.to_bytes())
    for person in ("alice", "keys"):
        code, said = board.sign(person)
        assert (code, f"is signed by {board.id_of('mallory')}, a root key that" in said) == (
            1,
            True,
        )
    assert not (board.keys / "root.json").exists()


def test_a_signature_of_something_else_is_refused(board: Board) -> None:
    board.found("alice", "bob")
    board.sign("alice")
    data = json.loads(board.next.read_text())
    data["signed"]["expires"] = "2039-01-01T00:00:00Z"
    board.next.write_text(json.dumps(data))
    code, said = board.sign("bob")
    assert (code, f"signature of key {board.id_of('alice')} does not fit" in said) == (1, True)


def test_one_key_does_not_count_twice(board: Board) -> None:
    board.join("alice")
    pub = str(board.pub("alice"))
    done = board.keygen("--root-pub", pub, "--root-pub", pub, "--root-threshold", "2")
    assert (done.exit_code, "is the same key as" in done.output) == (1, True)
    assert not board.keys.exists()
    done = board.keygen("--root-pub", pub, "--root-threshold", "2")
    assert (done.exit_code, "2 of 1 root keys cannot" in done.output) == (1, True)
    board.join("bob")
    board.keygen(*board.named("alice", "bob"), "--root-threshold", "2")
    data = json.loads(board.next.read_text())
    keys, root = data["signed"]["keys"], data["signed"]["roles"]["root"]
    one, other = root["keyids"]
    keys[other] = keys[one]
    board.next.write_text(json.dumps(data))
    code, said = board.sign("alice")
    assert (code, "names one key of root twice" in said) == (1, True)


@pytest.mark.parametrize("content", ["", "rubbish", "a private key", "an RSA key"])
def test_what_is_no_public_key_is_refused(board: Board, content: str) -> None:
    board.join("alice")
    if content == "a private key":
        content = (board.folder / "alice" / "root-1.key").read_text()
    if content == "an RSA key":
        content = subprocess.run(
            "openssl genrsa 2048 | openssl rsa -pubout", shell=True, capture_output=True,
            text=True, check=True,
        ).stdout  # fmt: skip
    path = board.folder / "some.pub"
    path.write_text(content)
    done = board.keygen("--root-pub", str(path))
    assert (done.exit_code, f"{path}: is no public key" in done.output) == (1, True)
    assert not board.keys.exists()


def test_copies_that_were_signed_apart_are_brought_together(board: Board) -> None:
    board.found("alice", "bob")
    for person in ("alice", "bob"):
        shutil.copy(board.next, board.folder / f"{person}.json")
        code, said = board.sign(person, board.folder / f"{person}.json")
        assert (code, "it lacks 1" in said) == (0, True)
    assert board.sign("keys", board.folder / "alice.json")[0] == 0
    assert not (board.keys / "root.json").exists()
    code, said = board.sign("keys", board.folder / "bob.json")
    assert (code, "version 1 is in force" in said) == (0, True)
    assert board.publish().exit_code == 0


def test_another_root_is_not_brought_in(board: Board) -> None:
    board.found("alice", "bob")
    elsewhere = Board(board.folder)
    elsewhere.keys = board.folder / "other"
    elsewhere.keygen(*board.named("alice", "bob"), "--root-threshold", "2")
    board.sign("alice", elsewhere.next)
    shutil.copy(elsewhere.next, board.folder / "returned.json")
    code, said = board.sign("keys", board.folder / "returned.json")
    assert (code, "is another root than" in said) == (1, True)


def test_a_root_whose_predecessor_is_not_here_is_not_signed(board: Board) -> None:
    board.found("alice", "bob")
    board.sign("alice")
    board.sign("bob")
    assert board.keygen("--renew").exit_code == 0
    apart = board.folder / "mail" / "next.root.json"
    apart.parent.mkdir()
    shutil.copy(board.next, apart)
    code, said = board.sign("alice", apart)
    assert (code, "the root before it is not here; put that root.json into" in said) == (1, True)
    shutil.copy(board.keys / "root.json", apart.parent)
    assert board.sign("alice", apart)[0] == 0
    code, said = board.sign("bob", apart)
    assert (code, "bring it back" in said) == (0, True)
    assert board.root().signed.version == 1
    assert board.sign("keys", apart)[0] == 0
    assert board.root().signed.version == 2


def test_a_second_root_does_not_begin_while_one_waits(board: Board) -> None:
    board.found("alice", "bob")
    board.sign("alice")
    board.sign("bob")
    board.keygen("--rotate", "snapshot")
    done = board.keygen("--renew")
    assert (done.exit_code, "waits for signatures already" in done.output) == (1, True)
    board.next.unlink()
    assert board.keygen("--renew").exit_code == 0
    board.sign("alice")
    board.sign("bob")
    assert (board.keys / "snapshot-1.key").exists()
    assert (board.keys / "snapshot-2.key.retired").exists()  # of the root that came to nothing
    assert board.publish().exit_code == 0


def test_what_is_shown_before_signing(board: Board) -> None:
    board.found("alice", "bob")
    board.sign("alice")
    board.sign("bob")
    board.join("carol")
    board.keygen("--rotate", "root", *board.named("bob", "carol"))
    _, said = board.sign("bob")
    assert "version 2, after version 1, expires" in said
    shown = next(line for line in said.splitlines() if line.startswith("  root"))
    assert "2 of " in shown
    assert f"{board.id_of('carol')} (new)" in shown
    assert f"{board.id_of('alice')} (no more)" in shown
    assert f"{board.id_of('bob')} (" not in shown


@pytest.mark.parametrize(("answer", "signed"), [(b"n\n", False), (b"y\n", True)])
def test_at_a_terminal_it_is_asked_before_it_is_signed(
    board: Board, answer: bytes, signed: bool
) -> None:
    board.found("alice", "bob")
    person, terminal = pty.openpty()
    os.write(person, answer)
    command = [RAMNET, "policy", "keygen", str(board.folder / "alice"), "--sign", str(board.next)]
    done = subprocess.run(command, stdin=terminal, capture_output=True, text=True, check=False)
    os.close(person)
    os.close(terminal)
    assert "sign it? [y/N]" in done.stdout
    assert done.stdout.index("  root ") < done.stdout.index("sign it?")
    assert (done.returncode == 0) == signed
    assert bool(board.root(board.next).signatures) == signed


@pytest.mark.parametrize(
    "words",
    [
        ["--root-only", "--sign", "x"],
        ["--root-only", "--root-keys", "2"],
        ["--sign", "x", "--renew"],
        ["--renew", "--root-threshold", "2"],
    ],
    ids=" ".join,
)
def test_what_excludes_each_other(board: Board, words: list[str]) -> None:
    assert board.keygen(*words).exit_code == 2


def test_json(board: Board) -> None:
    board.join("alice", "bob")
    done = board.keygen(*board.named("alice", "bob"), "--json")
    assert json.loads(done.stdout)["missing"] != []
    done = board.run("keygen", str(board.folder / "bob"), "--sign", str(board.next), "--json")
    facts = json.loads(done.stdout)
    assert facts["in_force"] is True
    assert facts["missing"] == []


def test_machines_follow_a_root_whose_holders_changed(site: Site, tmp_path: Path) -> None:
    """From the first root on, through a rotation in which all of the holders change."""
    board = Board(tmp_path)
    board.keys = tmp_path / "board"
    board.found("alice", "bob")
    board.sign("alice")
    board.sign("bob")
    site.keys.folder = board.keys
    site.root = (board.keys / "root.json").read_bytes()
    site.publish(1)
    site.fetch()
    board.join("carol", "dave")
    board.keygen("--rotate", "root", "--rotate", "targets", *board.named("carol", "dave"))
    for person in ("dave", "alice", "carol", "bob"):
        assert board.root().signed.version == 1
        assert board.sign(person)[0] == 0
    site.publish(2)
    assert site.fetch().documents == [(BASE, policy(2))]
    assert site.verify().documents == [(BASE, policy(2))]
