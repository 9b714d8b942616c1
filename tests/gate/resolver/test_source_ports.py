"""From which ports we ask: random ones, and none that a client's own NAT entry can hold."""

import asyncio
import socket

from ramnet.config_values import Endpoint
from ramnet.gate.resolver.exchange import DatagramExchange
from ramnet.wire.dns import QTYPE, from_text


def test_questions_come_from_random_ports_below_the_ephemeral_range() -> None:
    async def ask(endpoint: Endpoint) -> None:
        name = from_text("registry.example")
        for _ in range(100):
            DatagramExchange(endpoint, name, QTYPE.A, edns=True).close()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        asyncio.run(ask(Endpoint(*server.getsockname())))
        ports = {server.recvfrom(512)[1][1] for _ in range(100)}
    assert len(ports) > 90
    assert all(1024 <= port < 32768 for port in ports)
