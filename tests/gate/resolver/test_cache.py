"""What is kept, for how long, for whom, and how much of it."""

import dns.message
import dns.query
import pytest
from dns.edns import GenericOption, OptionType

from ramnet.gate.resolver.cache import (
    AnswerCache,
    AnswerKey,
    CachedAnswer,
    DatagramCache,
)
from ramnet.gate.resolver.memory import NAMES_PER_ADDRESS, GivenAddresses
from ramnet.wire.dns import Answer
from tests.gate.resolver.service import SINKHOLE4, Service
from tests.gate.resolver.situations import NAME, TRUE, owner
from tests.gate.resolver.upstream import Upstream, wire


def key(number: int) -> AnswerKey:
    return AnswerKey(b"\x04%04d\0" % number, 1, local=False)


def cached(octets: int = 0, ttl: int = 60, made: float = 0.0) -> CachedAnswer:
    return CachedAnswer(Answer(0, bytes(octets), ttl=ttl), made)


def lasting(ttl: int) -> Upstream:
    """An upstream whose answers live that long."""
    return Upstream(lambda query, _: wire(query, f"{owner(query)} {ttl} A {TRUE}"))


def test_answers_live_as_long_as_they_say_and_age_meanwhile() -> None:
    with lasting(60) as upstream, Service([upstream.place]) as service:
        assert service.ask(NAME).answer[0].ttl == 60
        for seconds, ttl in ((10.2, 50), (0.1, 50), (1, 49), (38, 11), (9.9, 1)):
            service.advance(seconds)
            assert service.ask(NAME).answer[0].ttl in (ttl, ttl - 1)
            assert service.ask(NAME, edns=None).answer[0].ttl in (ttl, ttl - 1)
        assert len(upstream.queries) == 1
        service.advance(2)
        assert service.ask(NAME).answer[0].ttl == 60
        assert len(upstream.queries) == 2


def test_no_answer_is_kept_for_more_than_an_hour() -> None:
    with lasting(604800) as upstream, Service([upstream.place]) as service:
        assert service.ask(NAME).answer[0].ttl == 3600
        service.advance(3601)
        service.ask(NAME)
        assert len(upstream.queries) == 2


def test_a_time_to_live_of_zero_is_honoured_and_remembered() -> None:
    with lasting(0) as upstream, Service([upstream.place]) as service:
        for _ in range(3):
            assert service.ask(NAME).answer[0].ttl == 0
        assert len(upstream.queries) == 3
        service.advance(59)
        assert service.gave(TRUE) == {NAME}
        service.advance(2)
        assert service.gave(TRUE) == frozenset()


def test_given_addresses_are_known_for_their_life_and_a_grace() -> None:
    with lasting(30) as upstream, Service([upstream.place]) as service:
        assert service.gave(TRUE) == frozenset()
        for name in (NAME, "ghcr.io"):
            service.ask(name)
        assert service.gave(TRUE) == {NAME, "ghcr.io"}
        assert service.gave(f"::ffff:{TRUE}") == {NAME, "ghcr.io"}
        service.advance(30 + 59)
        assert service.gave(TRUE) == {NAME, "ghcr.io"}
        service.advance(2)
        assert service.gave(TRUE) == frozenset()


def test_what_was_resolved_for_the_proxy_is_given_to_nobody_yet() -> None:
    with lasting(30) as upstream, Service([upstream.place]) as service:
        found = service.wait(service.resolver.resolve(NAME))
        assert found.addresses == (TRUE,)
        assert service.gave(TRUE) == frozenset()
        service.ask(NAME)
        assert service.gave(TRUE) == {NAME}


def test_each_client_gets_its_own_id_spelling_and_edns_back() -> None:
    with lasting(60) as upstream, Service([upstream.place]) as service:
        for message_id, name, edns in [
            (1, NAME, None),
            (2, NAME, None),
            (3, NAME.upper(), None),
            (4, NAME, 1232),
            (5, "wWw.AlloweD.example", 512),
        ] * 2:
            query = dns.message.make_query(name, "A", id=message_id)
            if edns:
                query.use_edns(0, 0, edns)
            reply = dns.query.udp(query, "127.0.0.1", port=service.port, timeout=5)
            assert reply.question[0].name.to_text() == f"{name}."
            assert (reply.edns >= 0) == bool(edns)
            assert reply.answer[0][0].to_text() == TRUE
        assert len(upstream.queries) == 1


def test_queries_that_hardly_come_again_do_not_push_others_out() -> None:
    """Random spelling and cookies make every query new."""
    with lasting(60) as upstream, Service([upstream.place]) as service:
        for name in (NAME.upper(), "wWw.allowed.example", "EVIL.example"):
            service.ask(name)
        query = dns.message.make_query(NAME, "A")
        query.use_edns(0, 0, 1232, options=[GenericOption(OptionType.COOKIE, b"12345678")])
        dns.query.udp(query, "127.0.0.1", port=service.port, timeout=5)
        assert service.status()["datagrams"] == 0
        service.ask(NAME)
        assert service.status()["datagrams"] == 1


def test_types_are_not_mixed_up() -> None:
    """65 is HTTPS and the letter A; a careless lower-casing makes it 97."""
    with Service() as service:
        assert service.texts("evil.example", "TYPE97") == []
        assert service.texts("evil.example", "HTTPS") == []
        assert service.texts("evil.example", "TYPE257") == []
        assert service.texts("evil.example") == [SINKHOLE4]


def test_a_change_of_the_surroundings_voids_what_was_learnt() -> None:
    with lasting(300) as upstream, Service([upstream.place]) as service:
        assert service.texts(NAME) == [TRUE]
        assert service.gave(TRUE) == {NAME}
        service.surround("", TRUE)
        assert service.texts(NAME) == []
        assert service.gave(TRUE) == frozenset()
        assert len(upstream.queries) == 2
        service.surround("", TRUE)
        service.ask(NAME)
        assert len(upstream.queries) == 2, "nothing has changed"


def test_answers_are_bounded_by_number() -> None:
    cache = AnswerCache(entries=3)
    for number in range(4):
        cache.put(key(number), cached())
        cache.get(key(0), 0.0)
    assert len(cache) == 3
    assert cache.get(key(0), 0.0), "used last"
    assert cache.get(key(1), 0.0) is None


def test_answers_are_bounded_by_octets_and_counted_right() -> None:
    cache = AnswerCache(octets=10_000)
    for number in range(100):
        cache.put(key(number % 7), cached(octets=number * 20))
        assert cache.octets <= 10_000
    for number in range(7):
        cache.get(key(number), 61.0)
    assert (len(cache), cache.octets) == (0, 0)


def test_an_answer_without_a_life_replaces_the_old_one_with_nothing() -> None:
    cache = AnswerCache()
    cache.put(key(1), cached())
    cache.put(key(1), cached(ttl=0))
    assert (len(cache), cache.octets) == (0, 0)


def test_datagrams_are_bounded_and_counted_right() -> None:
    cache = DatagramCache(entries=50, octets=3_000)
    for number in range(500):
        cache.put(b"query %d" % (number % 70), bytes(number % 90), until=1.0)
        assert len(cache.ready) <= 50
        assert cache.octets <= 3_000
        assert cache.octets == sum(len(q) + len(r) for q, (_, r, _) in cache.ready.items())
    cache.clear()
    assert (len(cache.ready), cache.octets) == (0, 0)


def test_given_addresses_are_bounded() -> None:
    memory = GivenAddresses(address_limit=10)
    for number in range(30):
        memory.remember("a.example", [bytes([10, 0, 0, number])], until=1.0)
    assert len(memory) == 10
    assert memory.names(bytes([10, 0, 0, 29]), 0.0) == ["a.example"]
    assert memory.names(bytes([10, 0, 0, 19]), 0.0) == []
    for number in range(NAMES_PER_ADDRESS + 5):
        memory.remember(f"n{number}.example", [b"\x0a\0\0\1"], until=1.0)
    names = memory.names(b"\x0a\0\0\1", 0.0)
    assert len(names) == NAMES_PER_ADDRESS
    assert names[-1] == f"n{NAMES_PER_ADDRESS + 4}.example"


@pytest.mark.parametrize("later", [5.0, 500.0])
def test_a_shorter_life_does_not_cut_a_longer_one(later: float) -> None:
    memory = GivenAddresses()
    memory.remember("a.example", [b"\x0a\0\0\1"], until=100.0)
    memory.remember("a.example", [b"\x0a\0\0\1"], until=later)
    assert memory.names(b"\x0a\0\0\1", 99.0 + 60) == ["a.example"]
