"""A session from its token to the gate: begun, enforced, ended by word, by time and by restart."""

import asyncio
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from ramnet.config import Config, Denial, Proxy, Resolver, Scope, Session
from ramnet.daemon.client import ask
from ramnet.daemon.fetch_order import Order
from ramnet.daemon.fetching import send
from ramnet.daemon.session_keeper import SessionKeeper
from ramnet.errors import RamnetError
from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.trust.session import Claims, Kept, Rules
from tests.lab.processes import wait_until
from tests.trust import test_slow_servers as slow_servers
from tests.trust.issuer import AUDIENCE, ISSUER, Issuer
from tests.trust.server import Server

from .conftest import PATIENCE, Bench, Running
from .test_signed_policy import Fleet, authority, fleet

__all__ = ["authority", "fleet"]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: the service changes its user"
)

SIGN_IN = "acme has disallowed access to h.example. Sign in to acme first"


class Person:
    """A machine with ``[session]``, and a token in the hand."""

    def __init__(self, bench: Bench, issuer: Issuer) -> None:
        self.bench, self.issuer = bench, issuer
        (bench.folder / "jwks.json").write_bytes(issuer.jwks)
        self.configure('enforce = true\nallowed_orgs = ["acme"]\nallow = ["login.example"]')

    def configure(self, session: str, jwks: str = "") -> None:
        self.bench.configure(self.session(session, jwks))

    def session(self, session: str, jwks: str = "") -> str:
        return (
            f'[session]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\n'
            f'jwks = "{jwks or self.bench.folder / "jwks.json"}"\n{session}\n'
        )

    def start(self, words: str) -> Running:
        run = self.bench.start()
        run.wait_for(words)
        return run

    def sign_in(self, **claims: Any) -> dict[str, Any]:
        body = json.dumps({"token": self.issuer.token(**claims)}).encode()
        answer: dict[str, Any] = ask(self.bench.control, "POST", "/v1/sign-in", body, time_limit=60)
        return answer

    def sign_out(self) -> dict[str, Any]:
        answer: dict[str, Any] = ask(self.bench.control, "POST", "/v1/sign-out", time_limit=60)
        return answer

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = ask(self.bench.control, "GET", "/v1/status")
        return answer

    def gate(self) -> dict[str, Any]:
        return self.bench.ask_gate()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def person(bench: Bench, issuer: Issuer) -> Person:
    return Person(bench, issuer)


def test_enforced_and_absent_nothing_but_signing_in_is_reachable(person: Person) -> None:
    person.start("refusing")
    wait_until("the gate follows", lambda: person.gate()["allowed"] == ["login.example"], PATIENCE)
    assert person.gate()["sentence"].startswith(SIGN_IN)
    status = person.status()
    assert status["session"]["state"] == "signed-out"
    assert status["policy"]["version"] is None
    assert any("nothing is reachable: Sign in to acme" in w for w in status["warnings"])


def test_sign_in_and_out_are_in_force_when_answered(person: Person) -> None:
    run = person.start("refusing")
    session = person.sign_in(exp=4102444800)
    assert (session["subject"], session["expires_at"]) == (
        "dev@acme.example",
        "2100-01-01T00:00:00.000Z",
    )
    run.wait_for("enforcing")
    assert person.gate()["allowed"] == ["docker.io"]
    assert person.gate()["version"] == 1
    person.bench.write_policy(2)  # a change meanwhile
    run.wait_for("is in force")
    assert person.gate()["version"] == 2
    assert person.sign_out()["state"] == "signed-out"
    assert person.gate()["allowed"] == ["login.example"]
    assert person.gate()["sentence"].startswith(SIGN_IN)
    person.bench.write_policy(3)  # a change while nobody is there opens nothing
    run.wait_for("is in force")
    assert person.gate()["allowed"] == ["login.example"]
    assert person.sign_in(exp=10**15)["expires_at"].startswith("9999-12-31T23:59:59")
    assert person.gate()["version"] == 3


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"organizations": ["other"]}, "in none of the allowed organizations: acme"),
        ({"iss": "https://evil.example"}, "the token is not accepted"),
        ({"exp": int(time.time()) - 3600}, "the token is not accepted"),
    ],
    ids=["organization", "issuer", "expired"],
)
def test_a_token_that_is_not_accepted_changes_nothing(
    person: Person, claims: dict[str, Any], words: str
) -> None:
    person.start("refusing")
    with pytest.raises(RamnetError, match=words):
        person.sign_in(**claims)
    with pytest.raises(RamnetError, match="the token"):
        ask(person.bench.control, "POST", "/v1/sign-in", b'{"token": "a.b.c"}', time_limit=60)
    assert person.gate()["allowed"] == ["login.example"]
    assert not (person.bench.state / "session").exists()


def test_a_session_ends_by_time(person: Person) -> None:
    run = person.start("refusing")
    person.sign_in(exp=int(time.time()) + 2)
    run.wait_for("session ended: it has expired")
    wait_until("the gate follows", lambda: person.gate()["allowed"] == ["login.example"], PATIENCE)
    assert not (person.bench.state / "session").exists()


def test_a_session_outlives_a_restart(person: Person) -> None:
    run = person.start("refusing")
    person.sign_in()
    run.stop()
    kept = person.bench.state / "session"
    assert kept.stat().st_mode & 0o777 == 0o600
    run = person.start("signed in: dev@acme.example")
    run.wait_for("enforcing")
    assert person.gate()["allowed"] == ["docker.io"]


def test_a_session_that_cannot_be_removed_is_over_all_the_same(person: Person) -> None:
    run = person.start("refusing")
    person.sign_in()
    kept = person.bench.state / "session"
    kept.unlink()
    kept.mkdir()
    assert person.sign_out()["state"] == "signed-out"
    assert person.gate()["allowed"] == ["login.example"]
    run.wait_for(f"cannot remove {kept}: Is a directory; remove it, or the session is back")


@pytest.mark.parametrize(("kept_at", "good"), [(3700, True), (7300, False), (0, False)])
def test_a_clock_that_is_behind_neither_ends_nor_revives_a_session(
    person: Person, kept_at: float, good: bool
) -> None:
    """A token for an hour, an hour from now by this clock; kept in it, after it, before it."""
    now = int(time.time())
    token = person.issuer.token(nbf=now + 3600, exp=now + 7200)
    file = person.bench.state / "session"
    file.parent.mkdir()
    file.write_bytes(msgspec.msgpack.encode(Kept(token, person.issuer.jwks)))
    os.utime(file, (now + kept_at, now + kept_at))
    person.start("signed in: dev@acme.example" if good else "session ended: the token is not")


def test_a_kept_session_is_verified_again(person: Person) -> None:
    run = person.start("refusing")
    person.sign_in()
    run.stop()
    person.configure('enforce = true\nallowed_orgs = ["other"]')
    run = person.start("session ended: dev@acme.example is in none of the allowed organizations")
    run.wait_for("refusing")
    assert person.gate()["allowed"] == []


def test_files_that_signing_in_needs_are_looked_at_before_anybody_does(person: Person) -> None:
    file = person.bench.folder / "registry.json"
    file.write_text("{}")
    person.configure(f'enforce = true\nregistry_json = "{file}"')
    run = person.start("refusing")
    run.wait_for(f"nobody can sign in: {file}: is not Docker's registry.json")
    assert any(w.startswith("nobody can sign in: ") for w in person.status()["warnings"])


def test_dockers_own_file_names_the_organizations(person: Person) -> None:
    file = person.bench.folder / "registry.json"
    file.write_text('{"allowedOrgs": ["acme"]}')
    person.configure(f'enforce = true\nregistry_json = "{file}"')
    run = person.start("refusing")
    person.sign_in()
    run.wait_for("enforcing")
    file.write_text("{}")
    with pytest.raises(RamnetError, match=r"is not Docker's registry\.json"):
        person.sign_in()


def test_not_enforced_and_absent_as_configured(person: Person) -> None:
    person.configure('absent = "policy"')
    run = person.start("enforcing")
    assert person.gate()["allowed"] == ["docker.io"]
    run.stop()
    person.configure('absent = "unrestricted"')
    run = person.start("enforcing")
    wait_until("the gate follows", lambda: "anything.example" in person.gate()["allowed"], PATIENCE)
    status = person.status()
    assert sum("nothing is restricted" in warning for warning in status["warnings"]) == 1
    assert (status["restriction"], status["policy"]["restricts"]) == ("nothing", False)
    person.sign_in()
    assert person.status()["restriction"] == "policy"
    assert person.gate()["allowed"] == ["docker.io"]
    person.sign_out()
    assert "anything.example" in person.gate()["allowed"]


def test_groups_have_their_policies_and_keys_may_be_fetched(fleet: Fleet, issuer: Issuer) -> None:
    person = Person(fleet.bench, issuer)
    (fleet.site.server.folder / "jwks.json").write_bytes(issuer.jwks)
    dev = b'version = 1\n[[registry]]\nhost = "dev.example"\n'
    fleet.site.publish(2, groups={"policies/dev.toml": dev})
    fleet.configure(
        "", extra_tables=person.session("enforce = false", f"{fleet.site.server.url}/jwks.json")
    )
    person.start("enforcing")
    assert person.gate()["allowed"] == ["docker.io"]
    person.sign_in()
    assert person.gate()["allowed"] == ["docker.io", "dev.example"]
    assert person.status()["policy"]["signed"]["groups"] == ["dev"]
    server = fleet.site.server
    asked = len(server.asked)
    server.go.clear()
    with ThreadPoolExecutor(1) as other:
        signing_out = other.submit(person.sign_out)
        wait_until("the question", lambda: len(server.asked) > asked, PATIENCE)
        assert person.gate()["allowed"] == ["docker.io"]  # before the server has answered
        server.down = True
        server.go.set()
        assert signing_out.result()["state"] == "signed-out"
    assert person.gate()["allowed"] == ["docker.io"]


def test_keys_that_cannot_be_had_change_nothing(fleet: Fleet, issuer: Issuer) -> None:
    """Garbage, too much, none at all, elsewhere, nowhere: who is signed in stays so."""
    person, server = Person(fleet.bench, issuer), fleet.site.server
    (server.folder / "jwks.json").write_bytes(issuer.jwks)
    fleet.configure(extra_tables=person.session("enforce = true", f"{server.url}/jwks.json"))
    person.start("refusing")
    person.sign_in()
    before = person.status()["session"]
    _refused(person, server, b"<html>sign in to this hotel</html>", "the issuer's keys are no key")
    _refused(person, server, b'{"keys": [7]}', "the issuer's keys are no key set")
    _refused(person, server, b'{"keys": []}', "No keys to import")
    _refused(person, server, Issuer().jwks, "the token is not accepted")
    _refused(person, server, b" " * (2 << 20), r"jwks\.json: .*exceeding the maximum")
    server.lies.clear()
    (server.folder / "elsewhere.json").write_bytes(issuer.jwks)
    server.moved["jwks.json"] = "/elsewhere.json"
    _refused(person, server, None, r"jwks\.json: the server says 302 and would send us elsewhere")
    server.moved.clear()
    server.down = True
    _refused(person, server, None, r"jwks\.json: the server says 503")
    assert person.status()["session"] == before
    assert person.gate()["allowed"] == ["docker.io"]


def _refused(person: Person, server: Server, keys: bytes | None, words: str) -> None:
    if keys is not None:
        server.lies["jwks.json"] = keys
    with pytest.raises(RamnetError, match=words):
        person.sign_in(sub="somebody else")


def test_keys_that_come_drop_by_drop_are_given_up(issuer: Issuer, authority: trustme.CA) -> None:
    """By the child that asks for them, when its time is over."""
    rules = Rules(ISSUER, AUDIENCE, ["RS256"], "organizations", "groups")
    spec = GateSpec("dockerd", Resolver(), Proxy(), Denial(), None, None, "/dev/null", None, None)
    with tempfile.TemporaryDirectory() as folder, slow_servers.serving(
        slow_servers.in_the_head, authority
    ) as url:  # fmt: skip
        Path(folder).chmod(0o755)
        ca = Path(folder, "ca.pem")
        ca.write_bytes(authority.cert_pem.bytes())
        order = Order(
            task="token", url=url, root=b"", groups=[], now=time.time(), seconds=1.0, ca=str(ca),
            spec=spec, surroundings=Surroundings([], {}, "", []), token=issuer.token(),
            rules=rules,
        )  # fmt: skip
        fetched = asyncio.run(send(order, kept=None, way=None))
    fetched.close()
    assert fetched.report.claims is None
    assert fetched.report.error == f"{url}: it took too long"


def test_signing_in_and_out_fetch_at_once(fleet: Fleet, issuer: Issuer) -> None:
    """Whatever the groups: there is no other question for a day."""
    person = Person(fleet.bench, issuer)
    fleet.configure(extra_tables=person.session("enforce = true"))
    person.start("refusing")
    fleet.site.publish(2)
    person.sign_in(groups=[])
    assert person.gate()["version"] == 2
    fleet.site.publish(3)
    person.sign_out()
    assert fleet.site.server.asked[-1].endswith(".policy.toml")
    fleet.site.server.down = True
    person.sign_in(groups=[])  # what was brought last is in force, and the session as well
    assert person.gate()["version"] == 3
    assert person.status()["policy"]["error"] is not None


def test_who_may_change(person: Person) -> None:
    import subprocess

    person.start("refusing")
    person.bench.folder.joinpath("run").chmod(0o755)
    done = subprocess.run(
        ["curl", "-s", "--unix-socket", str(person.bench.control), "-X", "POST",
         "http://ramnet/v1/sign-out"], capture_output=True, text=True, check=True, user=65534,
        group=65534, extra_groups=[],
    )  # fmt: skip
    assert json.loads(done.stdout)["error"] == "only root and the group ramnet may do that"


def test_a_session_file_that_is_rubbish_is_no_session(person: Person) -> None:
    Path(person.bench.state).mkdir()
    (person.bench.state / "session").write_bytes(b"\x00rubbish")
    person.start("session ended: ")
    wait_until("the gate follows", lambda: person.gate()["allowed"] == ["login.example"], PATIENCE)


class _Closed:
    """An admission that keeps what it is told."""

    mode = "policy"

    async def close(self, words: str, organization: str) -> None:
        self.mode = "closed"


def test_keys_that_do_not_come_keep_no_session_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may sign in may do so again and again while the keys' server is slow."""
    settings = Config(
        policy="/p",
        scopes=[Scope(name="a")],
        state_dir=str(tmp_path),
        session=Session(enforce=True, jwks="https://keys.example/", issuer=ISSUER, audience="a"),
    )
    never = asyncio.Event()

    async def send(*_: object) -> None:
        await never.wait()

    async def use_groups(_: tuple[str, ...]) -> None: ...

    async def scene() -> None:
        admission: Any = _Closed()
        keeper = SessionKeeper(
            settings, admission, use_groups=use_groups, way_out=lambda: None, tell=lambda _: None
        )
        monkeypatch.setattr(keeper, "_send", send)
        monkeypatch.setattr(keeper, "_order", lambda *_: None)
        keeper.claims = Claims("dev", [], [], time.time() - 1)
        signing = [asyncio.create_task(keeper.sign_in(b'{"token": "x"}')) for _ in range(3)]
        watching = asyncio.create_task(keeper.watch())
        async with asyncio.timeout(30):
            while admission.mode != "closed":
                await asyncio.sleep(0.01)
            await keeper.sign_out()
        for task in (*signing, watching):
            task.cancel()
        await asyncio.gather(*signing, watching, return_exceptions=True)

    asyncio.run(scene())
