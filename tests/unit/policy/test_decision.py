"""Rules of a decision, each by an example that a person can read."""

import pytest

from ramnet.policy import Outcome, Policy, Verdict
from tests.unit.policy.build import hosts, policy

CORP = """
version = 7
organization = "acme"
contact = "ask it-help@acme.example to add a registry"
presets = ["ghcr"]
[[registry]]
host = "registry.corp.example:5000"
local = true
[[registry]]
domain = "corp.example"
[[registry]]
host = "old.corp.example"
allowed = false
[[registry]]
host = "half.corp.example:80"
allowed = false
"""


@pytest.mark.parametrize(
    ("name", "port", "verdict"),
    [
        ("ghcr.io", 443, (Outcome.ALLOWED, "ghcr.io (preset ghcr)", False)),
        ("docker.io", None, (Outcome.ALLOWED, "docker_hub", False)),
        ("corp.example", None, (Outcome.ALLOWED, "corp.example (domain)", False)),
        ("a.b.corp.example", 1, (Outcome.ALLOWED, "corp.example (domain)", False)),
        ("registry.corp.example", 5000, (Outcome.ALLOWED, "registry.corp.example:5000", True)),
        ("registry.corp.example", 443, (Outcome.ALLOWED, "corp.example (domain)", False)),
        ("registry.corp.example", None, (Outcome.ALLOWED, "registry.corp.example:5000", True)),
        ("old.corp.example", 443, (Outcome.DENIED, "old.corp.example", False)),
        ("old.corp.example", None, (Outcome.DENIED, "old.corp.example", False)),
        ("new.old.corp.example", 443, (Outcome.ALLOWED, "corp.example (domain)", False)),
        ("half.corp.example", 80, (Outcome.DENIED, "half.corp.example:80", False)),
        ("half.corp.example", 443, (Outcome.ALLOWED, "corp.example (domain)", False)),
        ("half.corp.example", None, (Outcome.ALLOWED, "corp.example (domain)", False)),
        ("evil.example", 443, (Outcome.UNLISTED, None, False)),
        ("notcorp.example", 443, (Outcome.UNLISTED, None, False)),
        ("10.0.0.5", 443, (Outcome.UNLISTED, None, False)),
    ],
)
def test_verdicts(name: str, port: int | None, verdict: tuple[Outcome, str | None, bool]) -> None:
    assert policy(CORP).decide(name, port) == verdict


def test_a_policy_tells_what_it_is() -> None:
    corp = policy(CORP)
    assert (corp.version, corp.organization, corp.enabled) == (7, "acme", True)
    assert corp.contact == "ask it-help@acme.example to add a registry"
    assert len(corp.digest) == 64
    assert corp.entry_count == 4 + 2 + 11
    corp.verify()


def test_an_empty_list_allows_nothing() -> None:
    nothing = policy("docker_hub = false")
    assert nothing.entry_count == 0
    for name in ("docker.io", "localhost", "a", "corp.example"):
        assert nothing.decide(name) == Verdict(Outcome.UNLISTED)


def test_docker_hub_is_allowed_unless_turned_off() -> None:
    for host in ("registry-1.docker.io", "auth.docker.io", "production.cloudfront.docker.com"):
        assert policy("version = 0").decide(host, 443).allowed
        assert not policy("docker_hub = false").decide(host, 443).allowed


def test_a_denial_wins_over_docker_hub_and_presets() -> None:
    text = "[[registry]]\ndomain = 'docker.io'\nallowed = false"
    assert policy(text).decide("auth.docker.io").outcome is Outcome.DENIED


def test_a_name_whose_every_allowed_port_is_denied_is_refused_at_dns_time() -> None:
    text = """
    [[registry]]
    host = "a.example:5000"
    [[registry]]
    host = "*.example:5000"
    allowed = false
    """
    assert policy(text).decide("a.example") == (Outcome.DENIED, "*.example:5000", False)


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "A.EXAMPLE", "ü", "a" * 300, "a." * 200])
def test_a_text_that_is_no_normalised_name_is_never_allowed(name: str) -> None:
    assert not hosts("a.example", "**.example", "*-a.example").decide(name).allowed


def test_a_wildcard_stands_for_no_empty_label() -> None:
    policy_ = hosts("*.*.example")
    assert policy_.decide("a.b.example").allowed
    for name in ("..example", ".b.example", "a..example"):
        assert not policy_.decide(name).allowed


def test_before_a_policy_is_known_nothing_is_allowed() -> None:
    empty = Policy.empty("no policy\nhas been read yet")
    assert empty.decide("docker.io") == Verdict(Outcome.UNLISTED)
    assert (empty.entry_count, empty.digest, empty.enabled) == (0, "", True)
    assert empty.sentence("ghcr.io") == (
        "Your organization has disallowed access to ghcr.io. no policy?has been read yet (ramnet)"
    )


def test_an_empty_policy_takes_any_reason() -> None:
    for reason in ("", "x" * 10**6, "\u202e\x00"):
        sentence = Policy.empty(reason).sentence("a")
        assert sentence.isprintable()
        assert len(sentence) < 400


def test_the_same_entry_twice_counts_once() -> None:
    assert hosts("a.example", "A.example.", "a.example:80", "a-*.b", "a-*.b").entry_count == 3
