"""Answers of upstreams, cut down to what a client may be told: tricks and mistakes."""

import pytest

from tests.gate.resolver.service import OWN, SINKHOLE4, SINKHOLE6, Service, answers, sentence
from tests.gate.resolver.situations import NAME, TRUE, owner
from tests.gate.resolver.upstream import Upstream, wire

N = f"{NAME}."


def told(*records: str, name: str = NAME, rtype: str = "A", **options: object) -> list[str]:
    """What a client is told when the upstream answers with these records."""
    upstream = Upstream(lambda query, _: wire(query, *records, **options))
    with upstream, Service([upstream.place]) as service:
        return [
            f"{rrset.name} {rrset.ttl} {rdata}"
            for rrset in service.ask(name, rtype).answer
            for rdata in rrset
        ]


@pytest.mark.parametrize(
    ("rtype", "unfit"),
    [
        *(("A", a) for a in ("127.0.0.1", "0.0.0.0", "169.254.1.1", "255.255.255.255")),
        *(("A", a) for a in (OWN[2], SINKHOLE4, "224.0.0.1")),
        *(("AAAA", a) for a in ("::1", "::", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1")),
        *(("AAAA", a) for a in (OWN[3], SINKHOLE6, "2002:7f00:1::1")),
    ],
)
def test_unfit_addresses_are_taken_out(rtype: str, unfit: str) -> None:
    fit = {"A": "10.0.0.7", "AAAA": "fd00::7"}[rtype]
    records = f"{N} 60 {rtype} {unfit}", f"{N} 60 {rtype} {fit}"
    assert told(*records, rtype=rtype) == [f"{N} 60 {fit}"]
    assert told(records[0], rtype=rtype) == []


def test_an_answer_with_nothing_left_says_so() -> None:
    upstream = Upstream(lambda query, _: wire(query, f"{owner(query)} 60 A 127.0.0.1"))
    with upstream, Service([upstream.place]) as service:
        message = service.ask(NAME)
        why = "withheld, every address is unfit: loopback (ramnet)"
        assert (message.rcode(), answers(message)) == (0, [])
        assert sentence(message) == [(15, why)]
        assert [(e.name, e.reason) for e in service.events.of("refused")] == [(NAME, why)]
        assert service.gave("127.0.0.1") == frozenset()


def test_a_name_that_may_be_near_keeps_its_loopback_addresses() -> None:
    records = "near.example. 60 A 127.0.0.1", f"near.example. 60 A {SINKHOLE4}"
    assert told(*records, name="near.example") == ["near.example. 60 127.0.0.1"]


def test_the_target_of_a_cname_needs_no_entry_and_is_opened_for_nobody() -> None:
    records = f"{N} 300 CNAME cdn.evil.example.", "cdn.evil.example. 60 A 198.51.100.7"
    upstream = Upstream(lambda query, _: wire(query, *records))
    with upstream, Service([upstream.place]) as service:
        assert service.texts(NAME) == ["cdn.evil.example.", TRUE]
        assert service.texts("cdn.evil.example") == [SINKHOLE4]
        assert service.gave(TRUE) == {NAME}


def test_a_cname_from_a_refused_name_to_an_allowed_one_is_not_seen() -> None:
    assert told(f"evil.example. 60 CNAME {N}", f"{N} 60 A {TRUE}", name="evil.example") == [
        f"evil.example. 5 {SINKHOLE4}"
    ]


def test_a_cname_to_loopback_is_still_loopback() -> None:
    assert told(f"{N} 60 CNAME localhost.", "localhost. 60 A 127.0.0.1") == []


def test_what_does_not_belong_to_the_question_is_dropped() -> None:
    records = (
        "ghcr.io. 300 A 203.0.113.1",
        f"{N} 300 CNAME a.example.",
        "b.example. 300 A 203.0.113.2",
        "a.example. 300 A 198.51.100.7",
        f"{N} 300 A 203.0.113.3",
        f'{N} 300 TXT "text"',
    )
    assert told(*records[:4]) == [f"{N} 300 a.example.", "a.example. 300 198.51.100.7"]
    assert told(*records) == [f"{N} 300 203.0.113.3"], "an address beside a CNAME is the answer"
    extra = {"additional": ["evil.example. 60 A 1.2.3.4"], "authority": [f"{N} 60 NS ns.example."]}
    upstream = Upstream(lambda query, _: wire(query, f"{N} 60 A {TRUE}", **extra))
    with upstream, Service([upstream.place]) as service:
        message = service.ask(NAME)
        assert (message.authority, message.additional) == ([], [])


@pytest.mark.parametrize(
    "records",
    [
        [f"{N} 60 CNAME {N}"],
        [f"{N} 60 CNAME a.example.", f"a.example. 60 CNAME {N}"],
        [f"{'x' * n}.example. 60 CNAME {'x' * (n + 1)}.example." for n in range(1, 30)]
        + [f"{N} 60 CNAME x.example."],
    ],
    ids=["to itself", "in a circle", "without end"],
)
def test_chains_that_do_not_end_are_failures(records: list[str]) -> None:
    upstream = Upstream(lambda query, _: wire(query, *records))
    with upstream, Service([upstream.place]) as service:
        assert service.ask(NAME).rcode() == 2


def test_a_cname_without_its_target_s_address_is_followed() -> None:
    table = {
        N: f"{N} 300 CNAME a.example.",
        "a.example.": "a.example. 200 CNAME b.example.",
        "b.example.": "b.example. 100 A 198.51.100.7",
    }
    upstream = Upstream(lambda query, _: wire(query, table[owner(query)]))
    with upstream, Service([upstream.place]) as service:
        message = service.ask(NAME)
        assert answers(message) == ["a.example.", "b.example.", TRUE]
        assert [rrset.ttl for rrset in message.answer] == [300, 200, 100]
        assert len(upstream.queries) == 3
        service.advance(101)
        service.ask(NAME)
        assert len(upstream.queries) == 6, "the whole chain lives as long as its shortest part"


def test_a_chain_that_an_upstream_spins_out_is_given_up() -> None:
    def spin(query: object, server: Upstream) -> bytes:
        asked = server.queries[-1]
        return wire(asked, f"{owner(asked)} 60 CNAME n{len(server.queries)}.example.")

    with Upstream(spin) as upstream, Service([upstream.place]) as service:
        service.ask(NAME)
        assert len(upstream.queries) == 9


def test_many_addresses_and_the_same_one_twice() -> None:
    many = [f"{N} 60 A 10.0.{n // 250}.{n % 250 + 1}" for n in range(500)]
    upstream = Upstream(lambda query, _: wire(query, *many, many[0]))
    with upstream, Service([upstream.place]) as service:
        assert len(service.texts(NAME, tcp=True)) == 500
        assert service.gave("10.0.1.250") == {NAME}


def test_hints_and_ech_leave_https_records() -> None:
    record = f"{N} 60 HTTPS 1 . alpn=h2 port=8443 ipv4hint=127.0.0.1 ech=AAUBAgMEBQ== ipv6hint=::1"
    assert told(record, rtype="HTTPS") == [f'{N} 60 1 . alpn="h2" port="8443"']
    mandatory = f"{N} 60 HTTPS 1 . mandatory=ech ech=AAUBAgMEBQ=="
    assert told(mandatory, rtype="HTTPS") == []


@pytest.mark.parametrize(
    ("rtype", "data"),
    [
        ("MX", "10 mail.allowed.example."),
        ("SRV", "1 2 443 host.allowed.example."),
        ("TXT", '"v=spf1" "-all"'),
        ("NS", "ns.allowed.example."),
        ("CAA", '0 issue "ca.example"'),
        ("CNAME", "other.example."),
    ],
)
def test_other_types_pass_unchanged(rtype: str, data: str) -> None:
    assert told(f"{N} 60 {rtype} {data}", rtype=rtype) == [f"{N} 60 {data}"]


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "NOERROR"])
def test_negative_answers_are_kept_for_the_lesser_time(rcode: str) -> None:
    soa = "allowed.example. 900 SOA ns.example. root.example. 1 2 3 4 30"
    upstream = Upstream(lambda query, _: wire(query, rcode=rcode, authority=[soa]))
    with upstream, Service([upstream.place]) as service:
        for _ in range(3):
            message = service.ask(NAME)
        assert message.rcode() == {"NXDOMAIN": 3, "NOERROR": 0}[rcode]
        assert [(rrset.rdtype, rrset.ttl) for rrset in message.authority] == [(6, 30)]
        service.advance(12)
        assert service.ask(NAME).authority[0].ttl == 18
        assert len(upstream.queries) == 1
        service.advance(19)
        service.ask(NAME)
        assert len(upstream.queries) == 2


def test_an_soa_from_elsewhere_measures_nothing() -> None:
    soa = "evil.example. 900 SOA ns.example. root.example. 1 2 3 4 900"
    upstream = Upstream(lambda query, _: wire(query, rcode="NXDOMAIN", authority=[soa]))
    with upstream, Service([upstream.place]) as service:
        for _ in range(2):
            assert service.ask(NAME).authority == []
        assert len(upstream.queries) == 2
