"""A covered container's connections: through the gate nothing is reached that is near."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.gate.proxy import proxy as proxy_module
from ramnet.gate.proxy.serve import serve_covered
from tests.gate.proxy.rig import (
    CONTAINER,
    OTHER,
    POLICY,
    Rig,
    echo,
    hello,
    read_some,
    rig_in,
    was_reset,
)

pytestmark = pytest.mark.lab
AUDIT = "enforce = false" + POLICY


@pytest.fixture
def covered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """What is redirected comes from containers."""
    monkeypatch.setattr(proxy_module, "serve_transparent", serve_covered)
    with rig_in(tmp_path) as made:
        made.names.addresses["near.example"] = ("127.0.0.1",)
        made.names.addresses["also.example"] = (CONTAINER,)
        yield made


@pytest.mark.parametrize(("policy", "host", "address"), [
    (AUDIT, "127.0.0.1", "127.0.0.1"),
    (AUDIT, "near.example", "127.0.0.1"),
    (AUDIT, CONTAINER, CONTAINER),
    (POLICY, "also.example", CONTAINER),
])  # fmt: skip
def test_no_tunnel_to_what_is_near(covered: Rig, policy: str, host: str, address: str) -> None:
    covered.set_policy(policy)
    server = covered.listen(echo, address)
    with covered.connect(OTHER, 3128) as sock:
        sock.sendall(f"CONNECT {host}:{server.port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b" 502 " in read_some(sock, 13)
    with covered.connect(OTHER, 1080) as sock:
        name = host.encode()
        sock.sendall(b"\x05\x01\x00")
        assert read_some(sock, 2) == b"\x05\x00"
        port = server.port.to_bytes(2)
        sock.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port)
        assert read_some(sock, 2) == b"\x05\x04"  # host unreachable


def test_nor_by_a_name_in_the_connection(covered: Rig) -> None:
    server = covered.listen(echo, CONTAINER)
    with covered.connect(OTHER, server.port) as sock:
        sock.sendall(hello("also.example"))
        assert was_reset(sock)
