"""Container networks of any addresses: whoever may use Docker makes what is near."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.attacks.tools import BLOCKED, LEAKED, connected, get, read_all, server
from tests.lab import Capture, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import stray

pytestmark = pytest.mark.lab

_AT_ONCE = {
    "tls-without-name": b"\x16\3\1\0\5\1\0\0\1\0",
    "nothing-known": bytes(range(200, 256)),
}


@contextlib.contextmanager
def network(lab: Lab, enforced: Ramnet, subnet: str, gateway: str) -> Iterator[None]:
    """A network of Docker's; ramnet has seen it."""
    stem = gateway.rpartition(".")[0].rpartition(".")[0] + "."
    lab.docker.run("network", "create", f"--subnet={subnet}", f"--gateway={gateway}", "a").check()
    try:
        enforced.wait_status(
            lambda status: any(
                known.startswith(stem) for known in status["scopes"][0]["container_networks"]
            )
        )
        yield
    finally:
        lab.docker.run("network", "rm", "a")


@pytest.mark.parametrize("said", _AT_ONCE.values(), ids=_AT_ONCE)
def test_a_network_around_the_uplinks(
    lab: Lab, engine: None, enforced: Ramnet, vm: Vm, capture: Capture, said: bytes
) -> None:
    """`docker network create --subnet` with the neighbours' addresses makes none of them near.

    Shown by: `_left` without what is routed elsewhere; this was a hole.
    """
    with (
        network(lab, enforced, "192.0.0.0/16", "192.0.0.1"),
        server(lab.inet, at.INET_IPV4, 8443) as heard,
        contextlib.suppress(OSError),
        connected(vm, at.INET_IPV4, 8443) as sock,
    ):
        sock.sendall(said)
        read_all(sock)
    assert heard == []
    assert not stray(capture)


def test_a_network_that_is_removed_under_way(
    lab: Lab, engine: None, enforced: Ramnet, vm: Vm, capture: Capture
) -> None:
    """What was dialled as near is not sent once more to whoever else has that address.

    Shown by: `keep_near` that binds to no bridge; this was a hole.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(network(lab, enforced, "203.0.113.0/24", "203.0.113.200"))
        waiting = [
            stack.enter_context(connected(vm, BLOCKED.ipv4, 80, seconds=15)) for _ in range(3)
        ]
        for sock in waiting:
            sock.sendall(get(BLOCKED.name))
        lab.docker.run("network", "rm", "a").check()
        assert [LEAKED for sock in waiting if LEAKED.encode() in read_all(sock)] == []
    assert not stray(capture)
