"""What the kernel reports of a transaction comes in pieces."""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from ramnet.kernel import watch
from ramnet.kernel.watch import Watch

_DELTABLE, _NEWGEN = 2, 15
_SOMEBODY = 4711


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Watch, socket.socket]]:
    """A watch whose subscriptions we write."""
    pairs = [socket.socketpair(type=socket.SOCK_DGRAM) for _ in range(2)]
    ours = iter([pair[0] for pair in pairs])

    def subscribe(*_: object) -> socket.socket:
        sock = next(ours)
        sock.setblocking(False)
        return sock

    monkeypatch.setattr(watch, "_subscribe", subscribe)
    watching = Watch("ramnet", 99)
    yield watching, pairs[0][1]
    watching.close()
    for _, theirs in pairs:
        theirs.close()


def _message(kind: int, *attributes: tuple[int, bytes]) -> bytes:
    payload = struct.pack("=BBH", 1, 0, 0)
    for number, value in attributes:
        padded = value + bytes(-len(value) % 4)
        payload += struct.pack("=HH", 4 + len(value), number) + padded
    return struct.pack("=IHHII", 16 + len(payload), 10 << 8 | kind, 0, 0, _SOMEBODY) + payload


def test_the_author_is_waited_for(reports: tuple[Watch, socket.socket]) -> None:
    """The change was read a moment before the message that names its author, in CI once."""
    watching, kernel = reports
    kernel.send(_message(_DELTABLE, (1, b"ramnet\0")))
    named = _message(_NEWGEN, (2, (7).to_bytes(4, "big")), (3, b"nft\0"))
    late = threading.Timer(0.01, kernel.send, [named])
    late.start()
    change = watching.read()
    late.join()
    assert change == (True, False, "nft (pid 7)")
    assert watching.read() == (False, False, "")


def test_an_author_that_is_never_named_holds_up_nothing(
    reports: tuple[Watch, socket.socket],
) -> None:
    watching, kernel = reports
    kernel.send(_message(_DELTABLE, (1, b"ramnet\0")))
    assert watching.read() == (True, False, "")
    kernel.send(_message(_DELTABLE, (1, b"another\0")))
    kernel.send(_message(_NEWGEN, (2, (8).to_bytes(4, "big")), (3, b"nft\0")))
    assert watching.read() == (False, False, "")
