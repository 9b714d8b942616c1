"""What moves bytes: half-close, back-pressure, resets, limits, and nothing left behind."""

import asyncio
import contextlib
import hashlib
import os
import queue
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ramnet.gate.proxy import limits
from tests.gate.proxy.rig import (
    FAR,
    POLICY,
    Handler,
    Rig,
    echo,
    hello,
    read_all,
    read_some,
    rig_in,
    socket_of_a_client,
    was_reset,
)

pytestmark = pytest.mark.lab

HELLO = hello("good.example")
RESET = struct.pack("ii", 1, 0)


def _after_hello(handler: Handler) -> Handler:
    def handle(sock: socket.socket) -> None:
        read_some(sock, len(HELLO))
        handler(sock)

    return handle


def test_large_transfers_arrive_whole_both_ways(rig: Rig) -> None:
    data = os.urandom(32 << 20)
    server = rig.listen(_after_hello(echo))
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO)

        def send() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert hashlib.sha256(read_all(sock)).digest() == hashlib.sha256(data).digest()
        sender.join()
    event = rig.events.wait(verdict="allowed")
    assert (event.bytes_up, event.bytes_down) == (len(HELLO) + len(data), len(data))
    assert rig.call(rig.proxy.status)["pipes"] == 0


def test_the_clients_end_reaches_the_server_and_its_answer_the_client(rig: Rig) -> None:
    def answer_at_the_end(sock: socket.socket) -> None:
        sock.sendall(b"got %d" % len(read_all(sock)))

    server = rig.listen(_after_hello(answer_at_the_end))
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO + b"x" * 1000)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"got 1000"


def test_the_servers_end_reaches_the_client_which_may_go_on(rig: Rig) -> None:
    received: queue.Queue[bytes] = queue.Queue()

    def end_first(sock: socket.socket) -> None:
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        received.put(read_all(sock))

    server = rig.listen(_after_hello(end_first))
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO)
        assert read_all(sock) == b"bye"
        sock.sendall(b"still here")
    assert received.get(timeout=10) == b"still here"


@contextmanager
def _echoed(rig: Rig) -> Iterator[socket.socket]:
    """A connection that has gone through once."""
    server = rig.listen(_after_hello(echo))
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO + b"one")
        assert read_some(sock, 3) == b"one"
        yield sock


def test_an_end_that_came_with_the_last_bytes_is_passed_on(rig: Rig) -> None:
    """One edge tells of both, and the read before it comes back short."""
    with _echoed(rig) as sock:

        def send() -> None:
            sock.sendall(b"two")
            sock.shutdown(socket.SHUT_WR)

        rig.call(send)  # the loop stands still meanwhile
        assert read_all(sock) == b"two"


def test_urgent_data_holds_nothing_up(rig: Rig) -> None:
    """A read ends before the mark of it although there is more behind."""
    with _echoed(rig) as sock:

        def send() -> None:
            sock.sendall(b"two")
            sock.send(b"!", socket.MSG_OOB)
            sock.sendall(b"three")

        rig.call(send)
        assert read_some(sock, 8) == b"twothree"


@pytest.mark.parametrize("size", [limits.COPY_FEW - 1, limits.COPY_FEW, limits.COPY_FEW + 1])
def test_few_bytes_and_many_take_turns(rig: Rig, size: int) -> None:
    server = rig.listen(_after_hello(echo))
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO)
        for length in (size, 1, 300_000, size, 2):
            data = os.urandom(length)
            sender = threading.Thread(target=sock.sendall, args=(data,))
            sender.start()
            assert read_some(sock, length) == data
            sender.join()
    rig.events.wait(verdict="allowed")
    assert rig.call(rig.proxy.status)["pipes"] == 0


def test_a_slow_reader_holds_the_sender_back(rig: Rig) -> None:
    sent = threading.Event()
    total = 64 << 20

    def send(sock: socket.socket) -> None:
        sock.sendall(bytes(total))
        sent.set()

    server = rig.listen(_after_hello(send))
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO)
        assert sock.recv(1) == b"\0"
        assert not sent.wait(0.3)
        assert rig.call(rig.proxy.status)["pipes"] <= 1
        assert len(read_all(sock)) == total - 1
    assert sent.wait(5)


def test_bytes_of_a_connection_that_broke_off_never_reach_another(rig: Rig) -> None:
    def send(sock: socket.socket) -> None:
        sock.sendall(b"secret" * (16 << 20))

    sender = rig.listen(_after_hello(send))
    server = rig.listen(echo)
    for _ in range(3):
        with rig.connect(FAR, sender.port) as sock:
            sock.sendall(HELLO)
            while not rig.call(rig.proxy.status)["pipes"]:
                pass
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        while rig.call(rig.proxy.status)["open"]:
            pass
        with rig.connect(FAR, server.port) as sock:
            sock.sendall(HELLO)
            assert read_some(sock, len(HELLO)) == HELLO


def test_a_socket_is_kept_until_its_last_byte_is_acknowledged(rig: Rig) -> None:
    """Afterwards the kernel's packets carry no uid, and our own rules would refuse them."""
    ended: queue.Queue[None] = queue.Queue()

    def end_first(sock: socket.socket) -> None:
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        ended.get(timeout=10)

    server = rig.listen(_after_hello(end_first))
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO)
        assert read_all(sock) == b"bye"
        rig.nft(
            "add chain inet test lost { type filter hook output priority 0; }",
            f"add rule inet test lost tcp sport {server.port} drop",
        )
    rig.events.wait(verdict="allowed", name="good.example")
    (close,) = rig.proxy._services.engine.lingering
    upstream = close.__self__.upstream  # type: ignore[attr-defined]
    assert rig.call(upstream.fileno) > 0
    rig.stop()
    assert upstream.fileno() == -1
    ended.put(None)


def test_a_reset_passes_to_the_other_side(rig: Rig) -> None:
    ends: queue.Queue[bool] = queue.Queue()

    def wait(sock: socket.socket) -> None:
        sock.sendall(b"ready")
        ends.put(was_reset(sock))

    server = rig.listen(_after_hello(wait))
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO)
        assert read_some(sock, 5) == b"ready"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    assert ends.get(timeout=10)
    rig.events.wait(name="good.example", reason="Connection reset by peer")

    def cut(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    server = rig.listen(_after_hello(cut))
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO)
        assert was_reset(sock)


def test_a_new_policy_cuts_what_it_does_not_allow_and_nothing_else(rig: Rig) -> None:
    rig.names.addresses["also.example"] = (FAR,)
    server = rig.listen(echo)
    socks = [rig.connect(FAR, server.port) for _ in range(6)]
    for number, sock in enumerate(socks):
        first = hello("also.example" if number % 2 else "good.example")
        sock.sendall(first)
        read_some(sock, len(first))
    rig.set_policy(POLICY.replace('host = "also.example"', 'host = "third.example"'))
    for number, sock in enumerate(socks):
        with sock:
            if number % 2:
                assert was_reset(sock)
            else:
                sock.sendall(b"on")
                assert read_some(sock, 2) == b"on"
    event = rig.events.wait(name="also.example", reason="the policy changed")
    assert event.bytes_up > 0


def test_a_policy_change_while_dialling_counts(rig: Rig) -> None:
    rig.names.addresses["good.example"] = ("198.51.100.99",)  # nobody answers for a while
    rig.run("true")
    with rig.connect(FAR, 443) as sock:
        sock.sendall(HELLO)
        while not rig.names.asked:
            rig.call(lambda: None)
        rig.set_policy("docker_hub = false")
        assert was_reset(sock)


def test_an_idle_connection_is_reset(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    server = rig.listen(echo)
    with rig.connect(FAR, server.port) as sock:
        sock.sendall(HELLO)
        read_some(sock, len(HELLO))
        rig.call(rig.proxy._services.flows._sweep)
        sock.sendall(b"1")
        assert sock.recv(1) == b"1"
        monkeypatch.setattr(limits, "IDLE_TIME", -1.0)
        rig.call(rig.proxy._services.flows._sweep)
        assert was_reset(sock)
    rig.events.wait(reason="idle for too long")


def test_beyond_the_limit_connections_are_reset_at_once(tmp_path: Path) -> None:
    with rig_in(tmp_path, connection_limit=2) as rig:
        server = rig.listen(echo)
        first = [rig.connect(FAR, server.port) for _ in range(2)]
        for sock in first:
            sock.sendall(HELLO)
            read_some(sock, len(HELLO))
        with pytest.raises(ConnectionResetError), rig.connect(FAR, server.port) as sock:
            sock.recv(1)
        for sock in first:
            sock.close()
        rig.events.wait(name="good.example")
        assert rig.call(rig.proxy.status)["over_limit"] == 1


def test_many_connections_hold_no_pipes_and_leave_nothing(rig: Rig) -> None:
    server = rig.listen(echo)
    socks = []
    for _ in range(300):
        sock = rig.connect(FAR, server.port)
        sock.sendall(HELLO)
        socks.append(sock)
    for sock in socks:
        assert len(read_some(sock, len(HELLO))) == len(HELLO)
    status = rig.call(rig.proxy.status)
    assert (status["open"], status["pipes"]) == (300, 0)
    assert rig.call(lambda: [t for t in asyncio.all_tasks() if "Services._run" in repr(t)]) == []
    for sock in socks:
        sock.close()
    server.close()
    rig.servers.remove(server)
    while rig.call(rig.proxy.status)["open"]:
        pass


def test_out_of_descriptors_the_gate_rests_and_goes_on(rig: Rig) -> None:
    server = rig.listen(echo)
    waiting = rig.call(socket_of_a_client)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    filler: list[int] = []

    def exhaust() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
        with contextlib.suppress(OSError):
            while True:
                filler.append(os.dup(0))

    rig.call(exhaust)
    try:
        waiting.connect((FAR, server.port))
        waiting.sendall(HELLO)
        while not rig.call(lambda: any(a.resting for a in rig.proxy._acceptors)):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for fd in filler:
            os.close(fd)
    with waiting:
        waiting.settimeout(10)
        assert read_some(waiting, len(HELLO)) == HELLO
