"""Datagrams answered in batches, on real sockets of loopback; and the way without them."""

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ramnet.audit import Verdict
from ramnet.gate.resolver import batches
from ramnet.gate.resolver.batches import BATCH, Batches
from ramnet.gate.resolver.cache import DatagramCache
from tests.gate.resolver.service import SINKHOLE4, Service, bound

_HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(params=_HOSTS, ids=["IPv4", "IPv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with bound(socket.SOCK_DGRAM, request.param) as made:
        made.setblocking(False)
        yield made


@pytest.fixture
def client(listener: socket.socket) -> Iterator[socket.socket]:
    with socket.socket(listener.family, socket.SOCK_DGRAM) as made:
        made.settimeout(5)
        made.connect(listener.getsockname())
        yield made


class Known:
    """A server's cache, in which replies of all lengths are ready."""

    def __init__(self, *questions: bytes) -> None:
        self.counts: dict[Verdict, int] = {"allowed": 0, "refused": 0}
        self.cache = DatagramCache()
        for question in questions:
            self.cache.put(question, _reply(question), until=10.0, verdict="allowed")

    def answer(self, server: Batches, now: float = 1.0) -> tuple[int, int, list[bytes]]:
        hits, unsent, others = server.answer(self.cache.ready.get, now, self.counts)
        return hits, unsent, [data for data, _ in others]


def _question(number: int) -> bytes:
    return b"question" * (number % 3) + str(number).encode()


def _reply(question: bytes) -> bytes:
    return question[::-1] * (1 + len(question) * 7)


def _id(number: int) -> bytes:
    return (number * 257 & 0xFFFF).to_bytes(2, "big")


def test_each_answer_has_its_questions_id(listener: socket.socket, client: socket.socket) -> None:
    known = Known(*map(_question, range(BATCH + 5)))
    for number in range(BATCH + 5):
        client.send(_id(number) + _question(number))
    server = Batches(listener)
    assert known.answer(server) == (BATCH, 0, [])
    assert known.answer(server) == (5, 0, [])
    assert known.answer(server) == (0, 0, [])
    for number in range(BATCH + 5):
        assert client.recv(4096) == _id(number) + _reply(_question(number))
    assert known.counts == {"allowed": BATCH + 5, "refused": 0}


def test_what_is_not_known_or_stale_comes_out(
    listener: socket.socket, client: socket.socket
) -> None:
    """The first, some in the middle and the last; shorter than those that had their slots."""
    known, server = Known(b"known"), Batches(listener)
    for _ in range(6):
        client.send(b"\1\2" + bytes(300))
    assert len(known.answer(server)[2]) == 6
    sent = [b"\0\1new", b"\0\2known", b"\0\3new", b"", b"\0\4known", b"\0"]
    for data in sent:
        client.send(data)
    others = [data for data in sent if data[2:] != b"known"]
    assert known.answer(server) == (2, 0, others)
    assert [client.recv(512)[:2] for _ in range(2)] == [b"\0\2", b"\0\4"]
    client.send(b"\0\5known")
    assert known.answer(server, now=10.0) == (0, 0, [b"\0\5known"])


def test_each_asker_gets_its_own(listener: socket.socket) -> None:
    known, server = Known(b"known"), Batches(listener)
    askers = [socket.socket(listener.family, socket.SOCK_DGRAM) for _ in range(8)]
    try:
        for number, asker in enumerate(askers):
            asker.settimeout(5)
            asker.bind((_HOSTS[listener.family], 0))
            asker.sendto(_id(number) + b"known", listener.getsockname())
        askers[3].sendto(b"\0\0new", listener.getsockname())
        hits, _, others = server.answer(known.cache.ready.get, 1.0, known.counts)
        assert (hits, others) == (8, [(b"\0\0new", askers[3].getsockname())])
        for number, asker in enumerate(askers):
            data, server = asker.recvfrom(512)
            assert (data[:2], server) == (_id(number), listener.getsockname())
    finally:
        for asker in askers:
            asker.close()


def test_an_endless_message_is_cut_off(listener: socket.socket, client: socket.socket) -> None:
    known, server = Known(), Batches(listener)
    client.send(bytes(9000))
    client.send(b"\0\1next")
    assert known.answer(server) == (0, 0, [bytes(2048), b"\0\1next"])


@pytest.mark.parametrize("batched", [True, False], ids=["in batches", "one by one"])
def test_the_service_answers_either_way(monkeypatch: pytest.MonkeyPatch, batched: bool) -> None:
    """Without the calls (no ctypes, another system) it does what it did before they were there."""
    answered: list[int] = []

    class Seen(Batches):
        def answer(self, *about: Any) -> Any:
            hits, unsent, others = super().answer(*about)
            answered.append(hits)
            return hits, unsent, others

    monkeypatch.setattr(batches, "Batches", Seen)
    if not batched:
        monkeypatch.setitem(sys.modules, batches.__name__, None)
    with Service() as service:
        for _ in range(3):
            assert service.texts("evil.example") == [SINKHOLE4]
        assert service.status()["cache_hits"] == 2
    assert sum(answered) == (2 if batched else 0)
