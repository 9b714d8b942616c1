"""Both ways to answer from the address that was asked, on real sockets of loopback."""

import socket

import pytest

from ramnet.gate.resolver.datagrams import AnyAddress, OwnAddress


@pytest.mark.parametrize("host", ["127.0.0.9", "127.0.0.1"])
def test_the_answer_comes_from_where_the_question_went(host: str) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        listener.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        listener.bind(("0.0.0.0", 0))
        client.settimeout(5)
        client.connect((host, listener.getsockname()[1]))
        client.send(b"question")
        way = AnyAddress(listener)
        question, asker = way.receive(512)
        assert question == b"question"
        way.send(b"answer", asker)
        assert client.recv(512) == b"answer"  # a connected socket takes it from nowhere else


def test_ipv6_names_the_address_and_no_interface() -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as listener,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
    ):
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        listener.bind(("::", 0))
        client.settimeout(5)
        client.connect(("::1", listener.getsockname()[1]))
        client.send(b"question")
        way = AnyAddress(listener)
        _, asker = way.receive(512)
        assert asker.ancillary == [
            (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, bytes(15) + b"\x01" + bytes(4))
        ]
        way.send(b"answer", asker)
        assert client.recv(512) == b"answer"


def test_where_nat_answers_the_socket_itself_does() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        listener.bind(("127.0.0.1", 0))
        client.settimeout(5)
        client.connect(listener.getsockname())
        client.send(b"question")
        way = OwnAddress(listener)
        question, asker = way.receive(512)
        way.send(question, asker)
        assert client.recv(512) == b"question"
