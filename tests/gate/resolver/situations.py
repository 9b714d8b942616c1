"""Upstreams in the states that the tests put them in, and time passing."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dns.message

from tests.gate.resolver.service import Service, bound
from tests.gate.resolver.upstream import Handler, Upstream, wire

NAME = "www.allowed.example"
TRUE, FALSE = "198.51.100.7", "203.0.113.66"


def owner(query: dns.message.Message) -> str:
    return query.question[0].name.to_text()


def true(query: dns.message.Message, _: Upstream) -> bytes:
    return wire(query, f"{owner(query)} 300 A {TRUE}") if is_a(query) else wire(query)


def is_a(query: dns.message.Message) -> bool:
    return query.question[0].rdtype.name == "A"


def says(rcode: str) -> Handler:
    return lambda query, _: wire(query, rcode=rcode)


def silence(query: dns.message.Message, _: Upstream) -> None:
    return None


@contextlib.contextmanager
def dead() -> Iterator[str]:
    """A port where nobody listens, and that nobody else gets meanwhile."""
    with bound(socket.SOCK_STREAM) as held:
        yield f"127.0.0.1:{held.getsockname()[1]}"


def ask_while_time_passes(
    service: Service, *upstreams: Upstream
) -> tuple[dns.message.Message, float]:
    """Ask, and move the clock until the answer comes. Returns it and the seconds that took."""
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(service.ask, NAME)
        upstreams[0].wait_asked()
        passed = 0.0
        while not asked.done() and passed < 10:
            service.advance(0.25)
            passed += 0.25
            with contextlib.suppress(TimeoutError):
                asked.result(0.05)
        return asked.result(), passed
