"""Upstreams that are dead, slow or failing, and which one is asked."""

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from ramnet.gate.resolver import ResolutionError, exchange
from tests.gate.resolver.service import Service, answers, sentence
from tests.gate.resolver.situations import (
    NAME,
    TRUE,
    ask_while_time_passes,
    dead,
    says,
    silence,
    true,
)
from tests.gate.resolver.upstream import Upstream, answer


def test_the_second_server_stands_in_for_a_dead_one() -> None:
    with dead() as nobody, Upstream(true) as second, Service([nobody, second.place]) as service:
        for number in range(4):
            assert service.texts(f"n{number}.allowed.example") == [TRUE]
        states = [server["state"] for server in service.status()["upstreams"]]
        assert states == ["failing", "ok"]
        assert service.status()["upstreams"][0]["asked"] == 2, "then it is asked last"


def test_the_second_server_stands_in_for_a_silent_one() -> None:
    with (
        Upstream(silence) as first,
        Upstream(true) as second,
        Service([first.place, second.place]) as service,
    ):
        message, passed = ask_while_time_passes(service, first)
        assert answers(message) == [TRUE]
        assert passed <= 1.5


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
def test_the_second_server_stands_in_for_one_that_fails(rcode: str) -> None:
    with (
        Upstream(says(rcode)) as first,
        Upstream(true) as second,
        Service([first.place, second.place]) as service,
    ):
        assert service.texts(NAME) == [TRUE]
        assert len(first.queries) == 1


def test_a_name_that_does_not_exist_is_not_asked_elsewhere() -> None:
    with (
        Upstream(says("NXDOMAIN")) as first,
        Upstream(true) as second,
        Service([first.place, second.place]) as service,
    ):
        assert service.ask(NAME).rcode() == dns.rcode.NXDOMAIN
        assert second.queries == []


def test_all_silent_is_a_failure_before_the_client_gives_up() -> None:
    with (
        Upstream(silence) as first,
        Upstream(silence) as second,
        Service([first.place, second.place]) as service,
    ):
        message, passed = ask_while_time_passes(service, first)
        assert message.rcode() == dns.rcode.SERVFAIL
        assert passed <= 5
        assert sentence(message)[0][0] == 22
        assert 4 <= len(first.queries) + len(second.queries) <= 5
        assert (
            service.events.of("allowed")[0].reason == "not resolved: no upstream answered in time"
        )


def test_all_dead_is_a_failure_at_once_that_says_why() -> None:
    with dead() as nobody, Service([nobody]) as service:
        message = service.ask(NAME, timeout=2)
        assert message.rcode() == dns.rcode.SERVFAIL
        assert sentence(message) == [(22, "127.0.0.1: Connection refused")]
        with pytest.raises(ResolutionError, match="Connection refused"):
            service.wait(service.resolver.resolve(NAME))


def test_a_slow_server_is_still_listened_to() -> None:
    """Recursion may take longer than our patience; the answer counts when it comes."""
    held: list[bytes] = []
    clients: list[Any] = []

    def hold(query: dns.message.Message, server: Upstream) -> None:
        held.append(true(query, server))
        clients.append(server.client)

    with Upstream(hold) as slow, Service([slow.place]) as service, ThreadPoolExecutor(1) as client:
        asked = client.submit(service.ask, NAME)
        slow.wait_asked()
        service.advance(1.1)
        slow.wait_asked()  # asked again beside it
        slow.udp.sendto(held[0], clients[0])
        assert answers(asked.result(10)) == [TRUE]


def test_no_server_at_all_is_a_failure() -> None:
    with Service() as service:
        assert service.ask(NAME).rcode() == dns.rcode.SERVFAIL
        assert sentence(service.ask(NAME)) == [(22, "there is no usable upstream")]
    with Service(with_surroundings=False) as service:
        assert service.ask(NAME).rcode() == dns.rcode.SERVFAIL


def test_the_longest_zone_decides_who_is_asked() -> None:
    with (
        Upstream(true) as general,
        Upstream(true) as zone,
        Upstream(true) as deeper,
        Service(
            [general.place],
            zones={"Allowed.example": [zone.place], "in.allowed.example": [deeper.place]},
        ) as service,
    ):
        for name in ("ghcr.io", "allowed.example", "a.allowed.example", "x.in.allowed.example"):
            service.ask(name)
        assert general.names == ["ghcr.io A"]
        assert zone.names == ["allowed.example A", "a.allowed.example A"]
        assert deeper.names == ["x.in.allowed.example A"]


def test_no_other_server_is_told_the_names_of_a_dead_zone() -> None:
    with dead() as nobody, Upstream(true) as general:  # noqa: SIM117
        with Service([general.place], zones={"allowed.example": [nobody]}) as service:
            assert service.ask(NAME).rcode() == dns.rcode.SERVFAIL
            assert general.queries == []


def test_an_upstream_may_speak_ipv6() -> None:
    def truncating(query: dns.message.Message, server: Upstream) -> bytes:
        short = answer(query)
        short.flags |= dns.flags.TC
        return true(query, server) if server.over_tcp else short.to_wire()

    with Upstream(truncating, socket.AF_INET6) as upstream, Service([upstream.place]) as service:
        assert service.texts(NAME) == [TRUE]
        assert upstream.over_tcp == 1


def test_out_of_descriptors_is_a_failure_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with Upstream(true) as upstream, Service([upstream.place]) as service:
        with monkeypatch.context() as patched:
            patched.setattr(exchange, "_family", none_left)
            message = service.ask(NAME)
        assert message.rcode() == dns.rcode.SERVFAIL
        assert "Too many open files" in str(sentence(message))
        service.advance(1.1)
        assert service.texts(NAME) == [TRUE]
