"""``containers_dns = "allow"``: true answers for names that are not on the list, and no more."""

from collections.abc import Iterator

import dns.rcode
import pytest

from tests.gate.resolver.service import SINKHOLE4, Service, sentence
from tests.gate.resolver.test_decisions import give
from tests.gate.resolver.upstream import Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(give) as server:
        yield server


@pytest.fixture
def service(upstream: Upstream) -> Iterator[Service]:
    with Service([upstream.place], containers_dns="allow") as running:
        yield running


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("rtype", "data"), [("A", "198.51.100.7"), ("AAAA", "2001:db8:1::7"), ("TXT", '"text"')]
)
def test_a_name_that_is_not_listed_is_resolved(
    service: Service, rtype: str, data: str, tcp: bool
) -> None:
    for _ in range(2):  # from the upstream, then from what is kept
        assert service.texts("unlisted.example", rtype, tcp=tcp) == [data]


def test_its_address_opens_nothing(service: Service) -> None:
    """The proxy takes a given address for a name only where the policy allows the name."""
    service.texts("unlisted.example")
    assert service.gave("198.51.100.7") == frozenset()
    service.texts("www.allowed.example")
    assert service.gave("198.51.100.7") == {"www.allowed.example"}


def test_a_denial_still_wins(service: Service) -> None:
    message = service.ask("denied.allowed.example")
    assert [option for option, _ in sentence(message)] == [15]
    assert service.texts("denied.allowed.example") == [SINKHOLE4]


def test_addresses_of_this_machine_are_withheld(upstream: Upstream) -> None:
    with Service(
        [upstream.place], containers_dns="allow", own=["127.0.0.1", "198.51.100.7"]
    ) as service:
        assert service.texts("unlisted.example") == []


def test_a_search_suffix_still_leads_to_the_allowed_name(upstream: Upstream) -> None:
    with Service(
        [upstream.place], containers_dns="allow", resolv_conf="search corp.example\n"
    ) as service:
        assert service.ask("ghcr.io.corp.example").rcode() == dns.rcode.NXDOMAIN


def test_it_is_told(service: Service) -> None:
    service.texts("unlisted.example")
    (event,) = service.events.of("info")
    assert (event.name, event.reason) == (
        "unlisted.example",
        "not on the list; answered for containers",
    )


def test_the_default_refuses(upstream: Upstream) -> None:
    with Service([upstream.place]) as service:
        assert service.texts("unlisted.example") == [SINKHOLE4]
    assert upstream.queries == []
