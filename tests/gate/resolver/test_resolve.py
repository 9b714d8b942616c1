"""What the proxy is told when it asks where to dial."""

import dns.message
import pytest

from ramnet.gate.resolver import ResolutionError
from tests.gate.resolver.service import POLICY, Service, make_policy
from tests.gate.resolver.situations import NAME, TRUE, is_a, owner, says, true
from tests.gate.resolver.upstream import Handler, Upstream, wire


@pytest.mark.parametrize("slow", ["A", "AAAA"])
def test_the_proxy_does_not_wait_long_for_the_second_family(slow: str) -> None:
    def one_family(query: dns.message.Message, server: Upstream) -> bytes | None:
        rtype = query.question[0].rdtype.name
        data = {"A": TRUE, "AAAA": "2001:db8:1::7"}[rtype]
        return None if rtype == slow else wire(query, f"{owner(query)} 60 {rtype} {data}")

    with Upstream(one_family) as upstream, Service([upstream.place]) as service:
        found = service.wait(service.resolver.resolve(NAME))
        assert found.addresses == ({"AAAA": TRUE, "A": "2001:db8:1::7"}[slow],)
        assert upstream.names == [f"{NAME} A", f"{NAME} AAAA"]


def test_what_is_known_is_what_would_be_resolved_while_it_is_true() -> None:
    with Upstream(true) as upstream, Service([upstream.place], own=["10.0.0.1"]) as service:
        known = service.resolver.known
        assert service.call(known, NAME) is None
        found = service.wait(service.resolver.resolve(NAME))
        assert service.call(known, NAME) == found
        asked = len(upstream.names)
        service.advance(301)
        assert service.call(known, NAME) is None
        assert len(upstream.names) == asked


def test_what_has_no_address_and_what_is_pinned_is_not_known() -> None:
    with Upstream(says("NXDOMAIN")) as upstream, Service([upstream.place]) as service:
        with pytest.raises(ResolutionError):
            service.wait(service.resolver.resolve(NAME))
        assert service.call(service.resolver.known, NAME) is None
        assert service.call(service.resolver.known, "localhost") is None


def test_an_address_of_this_machine_is_not_known_for_an_entry_without_local() -> None:
    def loopback(query: dns.message.Message, _: Upstream) -> bytes:
        return wire(query, f"{owner(query)} 60 {'A 127.0.0.1' if is_a(query) else 'AAAA ::1'}")

    with Upstream(loopback) as upstream, Service([upstream.place]) as service:
        found = service.wait(service.resolver.resolve(NAME, local=True))
        assert found.addresses == ("127.0.0.1", "::1")
        assert service.call(service.resolver.known, NAME) is None


def test_what_is_known_does_not_outlive_the_policy_or_the_surroundings_it_was_known_under() -> None:
    def loopback(query: dns.message.Message, _: Upstream) -> bytes:
        return wire(query, f"{owner(query)} 60 {'A 127.0.0.1' if is_a(query) else 'AAAA ::1'}")

    with Upstream(loopback) as upstream, Service([upstream.place]) as service:
        resolver, near = service.resolver, "near.example"
        found = service.wait(resolver.resolve(near))
        assert service.call(resolver.known, near) == found
        service.call(service.judge.replace, make_policy(POLICY.replace("local = true", "")))
        assert service.call(resolver.known, near) is None
        service.call(service.judge.replace, make_policy())
        assert service.call(resolver.known, near) == found
        service.own = ["192.0.2.11"]
        service.surround("")
        assert service.call(resolver.known, near) is None


def test_a_name_that_does_not_exist_is_not_waited_for_twice() -> None:
    def half(query: dns.message.Message, _: Upstream) -> bytes | None:
        return wire(query, rcode="NXDOMAIN") if is_a(query) else None

    with Upstream(half) as upstream, Service([upstream.place]) as service:
        with pytest.raises(ResolutionError, match="NXDOMAIN"):
            service.wait(service.resolver.resolve(NAME))
        assert service.status()["failures"] == 0
        assert service.status()["in_flight"] == 1


def test_the_proxy_asks_for_ipv6_only_where_there_is_some() -> None:
    with Upstream(true) as upstream, Service([upstream.place], own=["10.0.0.1", "fe80::1"]) as here:
        assert here.wait(here.resolver.resolve(NAME)).addresses == (TRUE,)
        assert upstream.names == [f"{NAME} A"]


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (says("NXDOMAIN"), "upstream says NXDOMAIN"),
        (says("NOERROR"), "it has no address"),
        (says("SERVFAIL"), "answered SERVFAIL"),
        (lambda q, _: wire(q, f"{owner(q)} 60 A 127.0.0.1") if is_a(q) else wire(q), "loopback"),
    ],
)
def test_the_proxy_is_told_why_there_is_no_address(handler: Handler, why: str) -> None:
    text = f"^{NAME} was not resolved: .*{why}"
    with (
        Upstream(handler) as upstream,
        Service([upstream.place]) as service,
        pytest.raises(ResolutionError, match=text),
    ):
        service.wait(service.resolver.resolve(NAME))


def test_localhost_is_dialled_only_where_the_caller_means_this_machine() -> None:
    with Service() as service:
        found = service.wait(service.resolver.resolve("localhost", local=True))
        assert found.addresses == ("127.0.0.1", "::1")
        with pytest.raises(ResolutionError):
            service.wait(service.resolver.resolve("localhost"))
