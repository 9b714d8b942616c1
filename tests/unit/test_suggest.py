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


def proof(
    name: str, by: str = "registry.example", *, seconds: float | None = None, port: int = 443
) -> Event:
    redirect = (
        Redirect(by=by, proof="referrer")
        if seconds is None
        else Redirect(by=by, proof="timing", seconds=seconds, client="uid 0")
    )
    return Event(
        scope="dockerd", kind="http", name=name, port=port, verdict="info", redirect=redirect
    )


def redirected(name: str, **options: float) -> tuple[Event, Event]:
    return refusal(name), proof(name, seconds=options.get("seconds"))


def test_a_request_that_names_its_sender_is_enough() -> None:
    other = refusal("other.example")
    (one,) = found(other, *redirected("cdn.example"), other, refusal("cdn.example"))
    assert (one.host, one.registries, one.certain) == ("cdn.example", ["registry.example"], True)
    assert one.line == '[[registry]]\nhost = "cdn.example"'
    assert (one.refusals, one.preset, one.shared) == (1, None, False)


def test_time_is_enough_where_there_is_no_other_occasion() -> None:
    (one,) = found(*redirected("cdn.example", seconds=0.1), *redirected("cdn.example", seconds=0.3))
    assert (one.certain, one.refusals, one.seconds, one.clients) == (False, 2, 0.3, ["uid 0"])


@pytest.mark.parametrize(
    "events",
    [
        (refusal("x.example"),),
        (*redirected("x.example", seconds=0.1), refusal("x.example")),
        redirected("x.example", seconds=3.0),
        (*redirected("x.example", seconds=0.1), refusal("x.example"),
         proof("x.example", "ghcr.io", seconds=0.1)),
        redirected("added.example"),
        redirected("denied.example"),
    ],
    ids=["no proof", "asked for at another time", "too late", "two senders", "allowed by now",
         "denied by an entry"],
)  # fmt: skip
def test_what_is_not_suggested(events: tuple[Event, ...]) -> None:
    assert found(*events) == []


def test_a_question_to_the_resolver_is_no_other_occasion() -> None:
    asked = Event(scope="dockerd", kind="dns", name="cdn.example", verdict="refused")
    assert len(found(asked, *redirected("cdn.example", seconds=0.1))) == 1


def test_the_preset_that_covers_it_is_named() -> None:
    host = "pkg-containers.githubusercontent.com"
    (one,) = found(refusal(host), proof(host, "ghcr.io"))
    assert (one.preset, one.line, one.shared) == ("ghcr", 'presets = ["ghcr"]', True)
    (one,) = found(refusal("cdn.example"), proof("cdn.example", "ghcr.io"))
    assert one.preset is None


def test_a_port_of_its_own_is_part_of_the_line() -> None:
    (one,) = found(refusal("cdn.example", 8443), proof("cdn.example", port=8443))
    assert one.line == '[[registry]]\nhost = "cdn.example:8443"'
