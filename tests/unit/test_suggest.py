"""Which hosts are suggested, and which are not."""

import pytest

from ramnet.audit import Event, Kind, Redirect
from ramnet.policy import Policy, compile_policy, read_document
from ramnet.suggest import Suggestion, suggest

POLICY = """
docker_hub = false
[[registry]]
host = "registry.example"
[[registry]]
host = "ghcr.io"
[[registry]]
host = "added.example"
[[registry]]
host = "denied.example"
allowed = false
"""


def found(*events: Event) -> list[Suggestion]:
    return suggest(events, Policy(compile_policy(read_document(POLICY.encode(), source="test"))))


def refusal(name: str, port: int = 443, kind: Kind = "tls") -> Event:
    return Event(scope="dockerd", kind=kind, name=name, port=port, verdict="refused")


def proof(name: str, by: str = "registry.example", *, port: int = 443) -> Event:
    return Event(scope="dockerd", kind="http", name=name, port=port, verdict="info",
                 redirect=Redirect(by=by))  # fmt: skip


def redirected(name: str) -> tuple[Event, Event]:
    return refusal(name), proof(name)


def test_a_request_that_names_its_sender_is_enough() -> None:
    other = refusal("other.example")
    (one,) = found(other, *redirected("cdn.example"), other, refusal("cdn.example"))
    assert (one.host, one.registries) == ("cdn.example", ["registry.example"])
    assert one.line == '[[registry]]\nhost = "cdn.example"'
    assert (one.refusals, one.preset, one.shared) == (1, None, False)


@pytest.mark.parametrize(
    "events",
    [(refusal("x.example"),), redirected("added.example"), redirected("denied.example")],
    ids=["no proof", "allowed by now", "denied by an entry"],
)
def test_what_is_not_suggested(events: tuple[Event, ...]) -> None:
    assert found(*events) == []


def test_the_preset_that_covers_it_is_named() -> None:
    host = "pkg-containers.githubusercontent.com"
    (one,) = found(refusal(host), proof(host, "ghcr.io"))
    assert (one.preset, one.line, one.shared) == ("ghcr", 'presets = ["ghcr"]', True)
    (one,) = found(refusal("cdn.example"), proof("cdn.example", "ghcr.io"))
    assert one.preset is None


def test_a_port_of_its_own_is_part_of_the_line() -> None:
    (one,) = found(refusal("cdn.example", 8443), proof("cdn.example", port=8443))
    assert one.line == '[[registry]]\nhost = "cdn.example:8443"'


@pytest.mark.parametrize(
    ("name", "by", "port"),
    [
        ('a"\n[[registry]]\nhost = "evil.example', "ghcr.io", 443),
        ("\x1b[2J", "ghcr.io", 443),
        ("a.example", "ghcr.io:x:y", 443),
        ("a.example", "\x1b[2J", 443),
        ("a.example", "ghcr.io", 99999),
    ],
)
def test_what_is_no_host_is_not_suggested(name: str, by: str, port: int) -> None:
    """The gate's uid owns the log, and may be somebody else's by now."""
    assert found(proof(name, by, port=port)) == []
