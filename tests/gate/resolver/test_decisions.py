"""What clients are told about names, by the policy alone."""

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from ramnet import config
from ramnet.errors import PolicyError
from ramnet.gate.resolver import ResolutionError
from ramnet.policy import Verdict
from tests.gate.resolver.service import (
    OWN,
    POLICY,
    SINKHOLE4,
    SINKHOLE6,
    Service,
    answers,
    sentence,
)
from tests.gate.resolver.upstream import Upstream, wire

WHY = "acme has disallowed access to {}. ask it (ramnet)"


def give(query: dns.message.Message, _: Upstream) -> bytes:
    """Every name has one address."""
    asked = query.question[0]
    data = {"A": "198.51.100.7", "AAAA": "2001:db8:1::7", "TXT": '"text"'}.get(asked.rdtype.name)
    return wire(query, *([f"{asked.name} 300 {asked.rdtype.name} {data}"] if data else []))


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(give) as server:
        yield server


@pytest.fixture
def service(upstream: Upstream) -> Iterator[Service]:
    upstream.queries.clear()
    with Service([upstream.place]) as running:
        yield running


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(("rtype", "address"), [("A", SINKHOLE4), ("AAAA", SINKHOLE6)])
def test_a_refused_name_gets_the_sinkhole_and_the_reason(
    service: Service, upstream: Upstream, rtype: str, address: str, tcp: bool
) -> None:
    message = service.ask("evil.example", rtype, tcp=tcp)
    assert answers(message) == [address]
    assert message.answer[0].ttl == 5
    assert sentence(message) == [(15, WHY.format("evil.example"))]
    assert upstream.queries == []


@pytest.mark.parametrize("rtype", ["MX", "TXT", "HTTPS", "SVCB", "SRV", "PTR", "ANY", "CNAME"])
def test_other_types_of_a_refused_name_are_empty(
    service: Service, upstream: Upstream, rtype: str
) -> None:
    message = service.ask("evil.example", rtype)
    assert (message.rcode(), message.answer) == (dns.rcode.NOERROR, [])
    assert sentence(message) == [(15, WHY.format("evil.example"))]
    assert upstream.queries == []


def test_no_explanation_for_a_client_without_edns(service: Service) -> None:
    message = service.ask("evil.example", edns=None)
    assert answers(message) == [SINKHOLE4]
    assert message.edns == -1


def test_without_a_sinkhole_for_ipv6_its_answer_is_empty(upstream: Upstream) -> None:
    with Service([upstream.place], sinkhole6=None) as service:
        message = service.ask("evil.example", "AAAA")
        assert (message.rcode(), message.answer) == (dns.rcode.NOERROR, [])


def test_a_denied_name_below_an_allowed_domain(service: Service, upstream: Upstream) -> None:
    assert service.texts("denied.allowed.example") == [SINKHOLE4]
    assert upstream.queries == []
    assert service.events.of("refused")[0].entry == "denied.allowed.example"


@pytest.mark.parametrize("name", ["www.allowed.example", "WWW.Allowed.EXAMPLE", "ghcr.io."])
def test_an_allowed_name_is_resolved(service: Service, upstream: Upstream, name: str) -> None:
    assert service.texts(name) == ["198.51.100.7"]
    assert service.texts(name, "AAAA") == ["2001:db8:1::7"]
    assert service.texts(name, "TXT") == ['"text"']
    assert {query.question[0].name.to_text() for query in upstream.queries} == {
        name.lower().rstrip(".") + "."
    }, "the client's spelling does not pass: it could carry a message"


@pytest.mark.parametrize(
    "name",
    [
        r"ghcr\.io.",  # one label with a dot in it
        r"ghcr\000.io.",
        "münchen.example.",
        "xn--a.allowed.example.",
        r"www\032.allowed.example.",
        ".",
    ],
)
def test_a_name_that_is_none_does_not_exist(
    service: Service, upstream: Upstream, name: str
) -> None:
    message = service.ask(name)
    if "m" in name and "ü" in name:
        assert answers(message) == [SINKHOLE4]
        return
    assert (message.rcode(), message.answer) == (dns.rcode.NXDOMAIN, [])
    assert upstream.queries == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_both_families_are_served(service: Service, address: str) -> None:
    assert service.texts("www.allowed.example", address=address) == ["198.51.100.7"]
    assert service.texts("www.allowed.example", address=address, tcp=True) == ["198.51.100.7"]


def test_localhost_is_here_and_nothing_else_is(service: Service, upstream: Upstream) -> None:
    assert service.texts("localhost") == ["127.0.0.1"]
    assert service.texts("db.LOCALHOST", "AAAA") == ["::1"]
    assert service.texts("localhost", "MX") == []
    assert service.texts("localhost.example") == [SINKHOLE4]
    assert service.texts("notlocalhost") == [SINKHOLE4]
    assert service.texts("x\\009localhost") == []
    assert upstream.queries == []


def test_localhost_can_be_denied() -> None:
    denied = POLICY + '[[registry]]\ndomain = "localhost"\nallowed = false\n'
    with Service(policy=denied) as service:
        assert service.texts("localhost") == [SINKHOLE4]


@pytest.mark.parametrize(
    "resolv_conf", ["search corp.example sub.corp.example\noptions ndots:5", "domain corp.example"]
)
def test_an_allowed_name_with_a_search_suffix_does_not_exist(
    upstream: Upstream, resolv_conf: str
) -> None:
    upstream.queries.clear()
    with Service([upstream.place], resolv_conf=resolv_conf) as service:
        for name in ("ghcr.io.corp.example", "www.allowed.example.corp.example"):
            for rtype in ("A", "AAAA", "HTTPS"):
                message = service.ask(name, rtype)
                assert (message.rcode(), message.answer) == (dns.rcode.NXDOMAIN, [])
        assert service.ask("localhost.corp.example").rcode() == dns.rcode.NXDOMAIN
        assert service.texts("evil.example.corp.example") == [SINKHOLE4]
        assert service.texts("xghcr.io.corp.example") == [SINKHOLE4]
        assert service.texts("ghcr.io.other.example") == [SINKHOLE4]
        assert service.texts("corp.example") == [SINKHOLE4]
        assert service.texts("ghcr.io") == ["198.51.100.7"]
    assert upstream.names == ["ghcr.io A"]


def test_pins_are_the_administrators_word_for_allowed_names(upstream: Upstream) -> None:
    upstream.queries.clear()
    hosts = {
        "Registry.allowed.example": ["10.1.2.3", "fd00::3", "127.0.0.1", OWN[2], SINKHOLE4],
        "evil.example": ["10.6.6.6"],
        "loop.allowed.example": ["127.0.0.1"],
        "near.example": ["127.0.0.1"],
    }
    with Service([upstream.place], hosts=hosts) as service:
        assert service.texts("registry.allowed.example") == ["10.1.2.3"]
        assert service.texts("registry.allowed.example", "AAAA") == ["fd00::3"]
        assert service.texts("registry.allowed.example", "HTTPS") == []
        assert service.texts("evil.example") == [SINKHOLE4]
        assert service.texts("loop.allowed.example") == []
        assert service.texts("near.example") == ["127.0.0.1"]
        assert service.gave("10.1.2.3") == {"registry.allowed.example"}
        assert service.wait(service.resolver.resolve("registry.allowed.example")).addresses == (
            "10.1.2.3",
            "fd00::3",
        )
        with pytest.raises(ResolutionError):
            service.wait(service.resolver.resolve("loop.allowed.example"))
    assert upstream.queries == []


def test_with_a_parent_proxy_names_are_not_resolved_here(upstream: Upstream) -> None:
    upstream.queries.clear()
    proxy = config.Proxy(parent="http://proxy.example:3128", direct=[".allowed.example"])
    with Service([upstream.place], proxy=proxy) as service:
        message = service.ask("ghcr.io")
        assert answers(message) == [SINKHOLE4]
        assert sentence(message) == []
        assert service.texts("ghcr.io", "HTTPS") == []
        assert sentence(service.ask("evil.example")) == [(15, WHY.format("evil.example"))]
        assert service.texts("www.allowed.example") == ["198.51.100.7"]
        assert service.gave(SINKHOLE4) == frozenset()
        found = service.wait(service.resolver.resolve("proxy.example"))
        assert found.addresses == ("198.51.100.7", "2001:db8:1::7")
    assert sorted(upstream.names) == [
        "proxy.example A",
        "proxy.example AAAA",
        "www.allowed.example A",
    ]


def test_a_policy_that_restricts_nothing_lets_every_name_pass(upstream: Upstream) -> None:
    document = '{"enabled": false, "standard_registries": [], "custom_registries": []}'
    with Service([upstream.place], policy=document) as service:
        assert service.texts("evil.example") == ["198.51.100.7"]
        assert service.texts("evil.example", "TXT") == ['"text"']


def test_a_policy_that_is_not_enforced_lets_every_name_pass_and_counts(upstream: Upstream) -> None:
    audit, enforced = "enforce = false\ndocker_hub = false\n", "docker_hub = false\n"
    with Service([upstream.place], policy=audit) as service:
        for _ in range(2):  # the second from the cache of datagrams
            assert service.texts("evil.example") == ["198.51.100.7"]
        assert service.gave("198.51.100.7") == {"evil.example"}
        decisions = service.resolver.status()["decisions"]
        assert decisions == {"allowed": 0, "refused": 0, "would-deny": 2, "info": 0}
        service.put_in_force(enforced)
        assert service.texts("evil.example") == [SINKHOLE4]
        assert service.gave("198.51.100.7") == frozenset()


def test_a_new_policy_holds_from_the_next_question_on(service: Service) -> None:
    for _ in range(2):  # the second from the cache of datagrams
        assert service.texts("www.allowed.example") == ["198.51.100.7"]
        assert service.texts("evil.example") == [SINKHOLE4]
    assert service.gave("198.51.100.7") == {"www.allowed.example"}
    service.put_in_force('docker_hub = false\n[[registry]]\nhost = "evil.example"\n')
    for _ in range(2):
        assert service.texts("www.allowed.example") == [SINKHOLE4]
        assert service.texts("evil.example") == ["198.51.100.7"]
    assert service.gave("198.51.100.7") == {"evil.example"}


def test_a_damaged_policy_refuses(service: Service, upstream: Upstream) -> None:
    def damaged(name: str, port: int | None = None) -> Verdict:
        raise PolicyError("damaged")

    service.judge.policy.decide = damaged  # type: ignore[method-assign]
    assert service.texts("www.allowed.example") == [SINKHOLE4]
    assert upstream.queries == []


def test_what_is_no_query_of_one_question(service: Service) -> None:
    def rcode(query: dns.message.Message) -> str:
        reply = dns.query.udp(query, "127.0.0.1", port=service.port, timeout=5)
        return dns.rcode.to_text(reply.rcode())

    notify = dns.message.make_query("ghcr.io", "SOA")
    notify.set_opcode(4)  # type: ignore[arg-type]
    assert rcode(notify) == "NOTIMP"
    assert rcode(dns.message.make_query("ghcr.io", "A", rdclass="CH")) == "REFUSED"
    assert rcode(dns.message.make_query("ghcr.io", "AXFR")) == "REFUSED"
    assert rcode(dns.message.make_query("ghcr.io", "IXFR")) == "REFUSED"
    assert rcode(dns.message.make_query("ghcr.io", "A", use_edns=1)) == "BADVERS"
    two = dns.message.make_query("ghcr.io", "A")
    two.question.append(dns.message.make_query("evil.example", "A").question[0])
    assert rcode(two) == "FORMERR"


def test_any_is_answered_with_the_least(service: Service, upstream: Upstream) -> None:
    message = service.ask("www.allowed.example", "ANY")
    assert (message.rcode(), message.answer) == (dns.rcode.NOERROR, [])
    assert upstream.queries == []


def test_events_tell_each_name_once(service: Service) -> None:
    for _ in range(3):
        service.ask("evil.example")
        service.ask("evil.example", "AAAA")
        service.ask("www.allowed.example")
    assert [(e.kind, e.name, e.entry) for e in service.events.of("refused")] == [
        ("dns", "evil.example", None)
    ]
    assert [(e.name, e.entry) for e in service.events.of("allowed")] == [
        ("www.allowed.example", "allowed.example (domain)")
    ]
    service.advance(61)
    service.ask("evil.example")
    assert len(service.events.of("refused")) == 2


def test_random_names_do_not_flood_the_log(service: Service) -> None:
    for number in range(300):
        service.ask(f"n{number}.evil.example")
    written, suppressed = len(service.events.written), service.status()["events_suppressed"]
    assert written + suppressed == 300
    assert written >= 200
