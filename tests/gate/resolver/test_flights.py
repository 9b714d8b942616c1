"""Questions under way: joined, bounded, overtaken by a new policy, or running in circles."""

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from ramnet.gate.resolver import lookup
from ramnet.gate.resolver.lookup import FLIGHT_LIMIT
from tests.gate.resolver.service import OWN, Service, answers, bound, sentence
from tests.gate.resolver.situations import NAME, TRUE, ask_while_time_passes, silence, true
from tests.gate.resolver.upstream import Upstream


def test_the_same_question_is_asked_once_for_all() -> None:
    held: list[tuple[bytes, Any]] = []

    def hold(query: dns.message.Message, server: Upstream) -> None:
        held.append((true(query, server), server.client))

    with Upstream(hold) as upstream, Service([upstream.place]) as service:
        clients = [bound(socket.SOCK_DGRAM) for _ in range(20)]
        for number, client in enumerate(clients):
            query = dns.message.make_query(NAME, "A", id=number)
            client.sendto(query.to_wire(), ("127.0.0.1", service.port))
        upstream.wait_asked()
        service.ask("evil.example")  # all before it have been read
        assert service.status()["in_flight"] == 1
        reply, address = held[0]
        upstream.udp.sendto(reply, address)
        for number, client in enumerate(clients):
            client.settimeout(5)
            message = dns.message.from_wire(client.recv(4096))
            assert (message.id, answers(message)) == (number, [TRUE])
            client.close()
        assert len(upstream.queries) == 1


def test_questions_under_way_are_bounded() -> None:
    with Upstream(silence) as upstream, Service([upstream.place]) as service:
        with bound(socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
            for number in range(FLIGHT_LIMIT):
                query = dns.message.make_query(f"n{number}.allowed.example", "A")
                client.sendto(query.to_wire(), ("127.0.0.1", service.port))
                if number % 50 == 0:
                    service.ask("evil.example")  # keeps our own socket from running over
            service.ask("evil.example")
            assert service.status()["in_flight"] == FLIGHT_LIMIT
            message = service.ask("one.more.allowed.example")
            assert message.rcode() == dns.rcode.SERVFAIL
            assert sentence(message) == [(0, "too many questions at once")]
        assert service.status()["overflows"] == 1


def test_those_who_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "WAITER_LIMIT", 200)
    with (
        Upstream(silence) as upstream,
        Service([upstream.place]) as service,
        bound(socket.SOCK_DGRAM) as client,
    ):
        for number in range(200):
            query = dns.message.make_query(NAME, "A", id=number)
            client.sendto(query.to_wire(), ("127.0.0.1", service.port))
            if number % 50 == 0:
                service.ask("evil.example")
        service.ask("evil.example")
        assert sentence(service.ask(NAME)) == [(0, "too many questions at once")]


def test_the_policy_that_holds_when_the_answer_comes_decides() -> None:
    held: list[tuple[bytes, Any]] = []

    def hold(query: dns.message.Message, server: Upstream) -> None:
        held.append((true(query, server), server.client))

    with (
        Upstream(hold) as upstream,
        Service([upstream.place]) as service,
        ThreadPoolExecutor(1) as client,
    ):
        asked = client.submit(service.ask, NAME)
        upstream.wait_asked()
        service.put_in_force("docker_hub = false\n")
        upstream.udp.sendto(held[0][0], held[0][1])
        message = asked.result(10)
        assert answers(message) == [service.spec.sinkhole4]
        assert service.gave(TRUE) == frozenset()


def test_resolv_conf_is_followed_and_stubs_are_left_out() -> None:
    with Service(resolv_conf="nameserver 127.0.0.53\nnameserver ::1\n") as service:
        status = service.status()
        assert status["upstreams"] == []
        assert set(status["nameservers_skipped"]) == {"127.0.0.53", "::1"}
        assert "[resolver] upstream" in status["nameservers_skipped"]["::1"]
        service.surround(f"nameserver {OWN[2]}\nnameserver 198.51.100.53\n")
        status = service.status()
        assert [server["address"] for server in status["upstreams"]] == ["198.51.100.53"]
        assert set(status["nameservers_skipped"]) == {OWN[2]}


def test_an_upstream_that_hands_questions_back_is_found_and_named() -> None:
    """A stub on this machine whose own questions are redirected to us."""

    def stub(query: dns.message.Message, server: Upstream) -> bytes:
        return dns.query.udp(query, "127.0.0.1", port=ports[0], timeout=5).to_wire()

    ports: list[int] = []
    with Upstream(stub) as looping, Service() as service:
        looping.counts_probes = True
        ports.append(service.port)
        service.spec.resolver.upstream.append(looping.place)
        service.surround("# changed\n")
        looping.wait_asked()
        service.ask("evil.example")
        server = service.status()["upstreams"][0]
        assert server["state"] == "unusable"
        assert "[resolver] upstream" in server["reason"]
        assert [e.kind for e in service.events.of("info")] == ["service"]
        message = service.ask(NAME)
        assert message.rcode() == dns.rcode.SERVFAIL
        assert len(looping.queries) == 1, "the probe alone"


def test_a_loop_that_is_not_seen_ends_and_never_multiplies() -> None:
    with Service() as service, Upstream(lambda query, _: _forward(query, service)) as upstream:
        service.spec.resolver.upstream.append(upstream.place)
        service.surround("# changed\n")
        message, passed = ask_while_time_passes(service, upstream)
        assert message.rcode() == dns.rcode.SERVFAIL
        assert passed <= 5
        assert len(upstream.queries) <= 5


def _forward(query: dns.message.Message, service: Service) -> None:
    with bound(socket.SOCK_DGRAM) as stub:
        stub.sendto(query.to_wire(), ("127.0.0.1", service.port))
