"""Random and mutated first bytes at every way in: no crash, no hang, nothing left open."""

import contextlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gate.proxy.rig import FAR, Rig, hello

pytestmark = pytest.mark.lab

COUNT = 1000


def _seeds(port: int) -> list[bytes]:
    return [
        hello("good.example"),
        hello("bad.example"),
        hello(None),
        b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: good.example\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabcGET",
        b"CONNECT good.example:%d HTTP/1.1\r\n\r\n" % port + hello("good.example"),
        b"GET http://good.example:%d/ HTTP/1.1\r\nHost: good.example\r\n\r\n" % port,
        b"\x04\x01" + port.to_bytes(2, "big") + b"\0\0\0\x01me\0good.example\0" + b"GET / ",
        b"\x05\x02\x00\x02\x05\x01\x00\x03\x0cgood.example" + port.to_bytes(2, "big"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]


def _inputs(seeds: list[bytes], rng: random.Random) -> Iterator[bytes]:
    for number in range(COUNT):
        if number % 4 == 0:
            yield rng.randbytes(rng.randrange(1, 200))
            continue
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(0, 4)):
            at = rng.randrange(len(data))
            change = rng.randrange(4)
            if change == 0:
                data[at] = rng.randrange(256)
            elif change == 1:
                del data[at : at + rng.randrange(1, 20)]
                data = data or bytearray(b"\0")
            elif change == 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 20))
            else:
                data = data[: at + 1] + rng.choice(seeds)
        yield bytes(data)


def _answer(sock: socket.socket) -> None:
    """A server that answers anything once."""
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextlib.contextmanager
def _ended_by_us() -> Iterator[None]:
    """A reset is an answer; silence is none."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError:
        pass


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["far", "given", "near", "explicit", "tunnel"])
def test_anything_first(rig: Rig, place: str, caplog: pytest.LogCaptureFixture) -> None:
    server = rig.listen(_answer, "127.0.0.1" if place == "near" else FAR)
    if place == "given":
        rig.names.given[FAR] = frozenset({"good.example"})
    address, port = (server.address, server.port)
    if place in ("explicit", "tunnel"):
        address, port = "127.0.0.1", 3128
    opening = f"CONNECT good.example:{server.port} HTTP/1.1\r\n\r\n".encode()
    rng = random.Random(place)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for data in _inputs(_seeds(server.port), rng):
        with _ended_by_us(), rig.connect(address, port) as sock:
            sock.sendall((opening if place == "tunnel" else b"") + data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
    while rig.call(rig.proxy.status)["open"]:
        pass
    status = rig.call(rig.proxy.status)
    assert status["pipes"] == 0
    assert status["accepted"] >= COUNT
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 200
    assert caplog.records == []
