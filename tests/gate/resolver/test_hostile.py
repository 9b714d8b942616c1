"""A thousand random and mutated inputs to each listener: it answers on, and does not grow."""

import contextlib
import random
import socket
import tracemalloc
from functools import partial

import dns.message
import pytest

from ramnet.gate.resolver import report, server_udp
from ramnet.gate.resolver.cache import DatagramCache
from tests.gate.resolver.service import SINKHOLE4, Service, bound
from tests.gate.resolver.situations import TRUE, true
from tests.gate.resolver.upstream import Upstream

INPUTS = 1000


def mutated(dice: random.Random) -> bytes:
    """A query that was valid once, or nothing like one."""
    name = dice.choice(["evil.example", "www.allowed.example", "ghcr.io", "localhost", "."])
    query = dns.message.make_query(name, dice.choice(["A", "AAAA", "HTTPS", "ANY"]))
    if dice.random() < 0.5:
        query.use_edns(0, 0, dice.choice([0, 512, 1232, 65535]))
    data = bytearray(query.to_wire())
    for _ in range(dice.choice([0, 1, 2, 8, 40])):
        data[dice.randrange(len(data))] = dice.choice([0, 1, 0x3F, 0x40, 0xC0, 0xFF])
    if dice.random() < 0.2:
        del data[dice.randrange(len(data)) :]
    return bytes(data) if dice.random() < 0.9 else dice.randbytes(dice.randrange(600))


@pytest.mark.parametrize("seed", [1, 2])
def test_datagrams(seed: int) -> None:
    dice = random.Random(seed)
    with (
        Upstream(true) as upstream,
        Service([upstream.place]) as service,
        bound(socket.SOCK_DGRAM) as client,
    ):
        for number in range(INPUTS):
            client.sendto(mutated(dice), ("127.0.0.1", service.port))
            if number % 50 == 0:
                assert service.texts("evil.example") == [SINKHOLE4]
        assert service.texts("www.allowed.example") == [TRUE]
        status = service.status()
        assert status["queries"] >= INPUTS
        assert status["malformed"] > 100


def test_streams() -> None:
    dice = random.Random(3)
    with Upstream(true) as upstream, Service([upstream.place]) as service:
        for number in range(INPUTS):
            data = b"".join(
                (len(query) + dice.choice([0, 0, 0, 1, -1, 300])).to_bytes(2, signed=True) + query
                for query in (mutated(dice) for _ in range(dice.randrange(4)))
            )
            with (
                contextlib.suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection,
            ):
                connection.sendall(data)
                if dice.random() < 0.5:
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(65536)
            if number % 100 == 0:
                assert service.texts("evil.example", tcp=True) == [SINKHOLE4]
        service.advance(11)
        assert service.status()["tcp_connections"] == 0


def test_replies_of_upstreams() -> None:
    dice = random.Random(4)

    def spoilt(query: dns.message.Message, server: Upstream) -> list[bytes]:
        data = bytearray(true(query, server))
        for _ in range(dice.choice([1, 2, 8])):
            data[dice.randrange(2, len(data))] = dice.choice([0, 1, 0x3F, 0x40, 0xC0, 0xFF])
        return [bytes(data), true(query, server)]

    with Upstream(spoilt) as upstream, Service([upstream.place] * 3) as service:
        for number in range(300):
            message = service.ask(f"n{number}.allowed.example")
            assert message.rcode() in (0, 2, 3)


def test_memory_does_not_grow_with_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are all different fill the caches, and then nothing more."""
    monkeypatch.setattr(server_udp, "DatagramCache", partial(DatagramCache, entries=300))
    monkeypatch.setattr(report, "REMEMBERED", 300)
    with Service() as service:

        def flood(start: int) -> None:
            for number in range(start, start + 500):
                service.ask(f"n{number}.evil.example", edns=None)
            service.events.written.clear()

        flood(0)
        tracemalloc.start()
        flood(1000)
        before, _ = tracemalloc.get_traced_memory()
        flood(2000)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert service.status()["datagrams"] == 300
        assert after - before < 100_000
