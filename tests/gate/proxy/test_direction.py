"""One direction alone, between socket pairs: a few bytes at a time, and a sink that is full."""

import os
import socket

from ramnet.gate.proxy import limits
from ramnet.gate.proxy.direction import Direction
from ramnet.gate.proxy.pipes import PipePool


def pair(buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Two ends, non-blocking; ``buffer``: what the first may have on its way."""
    one, other = socket.socketpair()
    for end in (one, other):
        end.setblocking(False)
    if buffer is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    return one, other


def read_all(sock: socket.socket) -> bytes:
    """Everything that is there."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except BlockingIOError:
        pass
    return data


def test_what_a_full_sink_does_not_take_is_kept_in_order() -> None:
    client, source = pair()
    sink, server = pair(buffer=8192)
    pool = PipePool()
    direction = Direction(pool, source, sink)
    direction.writable = True
    sent = received = b""
    stops = 0
    with client, source, sink, server:
        for _ in range(50):
            piece = os.urandom(limits.COPY_FEW - 1000)
            client.send(piece)
            sent += piece
            direction.readable = True
            direction.pump()
            if not direction.writable:
                stops += 1
                received += read_all(server)
                direction.writable = True
                direction.pump()
        received += read_all(server)
    assert stops > 5
    assert received == sent
    assert direction.moved == len(sent)
    assert pool.lent == 0
    pool.close()


def test_a_budget_ends_a_piece_and_nothing_beyond_it_passes() -> None:
    client, source = pair()
    sink, server = pair()
    asked: list[bool] = []
    direction = Direction(PipePool(), source, sink)
    direction.readable = direction.writable = True
    direction.budget, direction.gatekeeper = 3, lambda: asked.append(True)
    with client, source, sink, server:
        client.send(b"onetwo")
        direction.pump()
        assert read_all(server) == b"one"
        assert asked == [True]
        assert source.recv(10, socket.MSG_PEEK) == b"two"
