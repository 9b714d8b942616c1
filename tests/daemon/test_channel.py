"""The channel: whole packets, descriptors, and an end that is noticed."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet import config
from ramnet.daemon import channel, memfd
from ramnet.gate.spec import GateSpec, Surroundings

SPEC = GateSpec(
    scope="dockerd",
    resolver=config.Resolver(upstream=["192.0.2.53"]),
    proxy=config.Proxy(parent="http://p.example:3128"),
    denial=config.Denial(),
    sinkhole4="240.0.0.1",
    sinkhole6=None,
    event_log="/var/lib/ramnet/events/dockerd.jsonl",
    ca_certificate=None,
    ca_key=None,
)
NEAR = Surroundings(["127.0.0.1"], {"172.17.0.0/16": 3}, "nameserver 192.0.2.53\n", [927, 928])


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = channel.pair()
    with ours, theirs:
        yield ours, theirs


Ends = tuple[socket.socket, socket.socket]


def test_listening_sockets_arrive_with_their_roles(ends: Ends) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        channel.send(ends[0], channel.Begin(SPEC, NEAR, ["explicit"]), [listener.fileno()])
        received = channel.receive_in_gate(ends[1])
        assert received is not None
        message, (fd,) = received
        assert message == channel.Begin(SPEC, NEAR, ["explicit"])
        with socket.socket(fileno=fd) as theirs:
            assert theirs.getsockname() == listener.getsockname()
            assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_a_sealed_blob_cannot_be_changed_by_who_receives_it(ends: Ends) -> None:
    blob = memfd.create("blob")
    os.write(blob, b"policy")
    memfd.seal(blob)
    channel.send(ends[0], channel.Adopt(7), [blob])
    received = channel.receive_in_gate(ends[1])
    assert received is not None
    message, (fd,) = received
    assert message == channel.Adopt(7)
    for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0)):
        with pytest.raises(PermissionError):
            change()
    os.close(fd)
    os.close(blob)


@pytest.mark.parametrize(
    "message",
    [
        channel.Ready(),
        channel.Adopted(1, version=2, organization="acme", digest="00", entries=3),
        channel.Rejected(1, "damaged"),
        channel.Pong(4, {"resolver": {"queries": 1}}),
    ],
)
def test_what_the_gate_says_is_understood(ends: Ends, message: channel.FromGate) -> None:
    channel.send(ends[1], message)
    assert channel.receive_in_supervisor(ends[0]) == message
    with pytest.raises(BlockingIOError):
        channel.receive_in_supervisor(ends[0])


def test_the_end_of_either_side_is_noticed(ends: Ends) -> None:
    ends[0].close()
    assert channel.receive_in_gate(ends[1]) is None
    with pytest.raises(channel.ChannelError):
        channel.send(ends[1], channel.Ready())


@pytest.mark.parametrize(
    "packet",
    [
        b"\x00",
        b"{}",
        b'{"type":"ping","serial":1}',  # the supervisor's own word
        b'{"type":"pong","serial":"1","status":{}}',
        b'{"type":"pong","serial":1}',
        b'{"type":"adopted","serial":1,"ports":[0]}',
        b'{"type":"adopted","serial":1,"ports":[65536]}',
        b'{"type":"adopted","serial":1,"ports":[' + b"1," * 100 + b"1]}",
        b"[" * 100_000,
    ],
)
def test_a_gate_that_talks_nonsense_is_an_error(ends: Ends, packet: bytes) -> None:
    ends[1].send(packet)
    with pytest.raises(channel.ChannelError):
        channel.receive_in_supervisor(ends[0])


def test_a_gate_that_says_too_much_is_an_error(ends: Ends) -> None:
    ends[1].send(b'{"type":"ready"}' + b" " * channel.MAX_PACKET)  # would decode where it is cut
    with pytest.raises(channel.ChannelError, match="too large"):
        channel.receive_in_supervisor(ends[0])


def test_descriptors_from_a_gate_are_not_taken(ends: Ends) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader, writer = os.pipe()
    for _ in range(100):
        socket.send_fds(ends[1], [b'{"type":"ready"}'], [writer] * 10)
        assert channel.receive_in_supervisor(ends[0]) == channel.Ready()
    os.close(reader)
    os.close(writer)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_gate_that_does_not_read_is_an_error_not_a_wait(ends: Ends) -> None:
    with pytest.raises(channel.ChannelError):
        for serial in range(10_000):
            channel.send(ends[0], channel.RefuseAll(serial, "x" * 1000))
