"""A small real DNS server that answers what the test tells it to, lies included."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset

from ramnet.gate.resolver.loops import SUFFIX
from tests.gate.resolver.service import same_port

PROBES = dns.name.from_text(SUFFIX)
Handler = Callable[[dns.message.Message, "Upstream"], "bytes | Iterable[bytes] | None"]


def answer(
    query: dns.message.Message,
    *records: str,
    rcode: str = "NOERROR",
    authority: Iterable[str] = (),
    additional: Iterable[str] = (),
) -> dns.message.Message:
    """A response with these records, each a line ``owner ttl type data``."""
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(dns.rcode.from_text(rcode))
    for section, lines in (
        (response.answer, records),
        (response.authority, authority),
        (response.additional, additional),
    ):
        for line in lines:
            owner, ttl, rtype, data = line.split(" ", 3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", rtype, data))
    return response


def wire(query: dns.message.Message, *records: str, **options: Any) -> bytes:
    """The octets of ``answer``."""
    return answer(query, *records, **options).to_wire(max_size=65535)


class Upstream:
    """Serves UDP and TCP of one loopback port, each question by ``handler``."""

    def __init__(self, handler: Handler, family: int = socket.AF_INET) -> None:
        self.handler = handler
        self.queries: list[dns.message.Message] = []
        self.probes: list[dns.message.Message] = []
        """Questions of ``loops``, which are answered but not counted."""
        self.sources: list[int] = []
        """Ports that the questions came from."""
        self.counts_probes = False
        self.over_tcp = 0
        self.client: Any = None
        """Where the question at hand came from."""
        self.udp, self._tcp = same_port((socket.SOCK_DGRAM, family), (socket.SOCK_STREAM, family))
        self.port = self.udp.getsockname()[1]
        address = "[::1]" if family == socket.AF_INET6 else "127.0.0.1"
        self.place = f"{address}:{self.port}"
        self._stop, self._stopped = socket.socketpair()
        self._asked = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.close()
        self._thread.join(10)
        for each in (self.udp, self._tcp, self._stopped):
            each.close()

    def wait_asked(self, times: int = 1) -> None:
        """Until that many more questions have come."""
        for _ in range(times):
            assert self._asked.acquire(timeout=10)

    @property
    def names(self) -> list[str]:
        """What was asked, as ``name TYPE``."""
        return [
            f"{q.question[0].name.to_text(omit_final_dot=True)} {q.question[0].rdtype.name}"
            for q in self.queries
        ]

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for each in (self.udp, self._tcp, self._stopped):
                selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._stopped:
                        return
                    if key.fileobj is self.udp:
                        self._datagram()
                    else:
                        self._stream()

    def _replies(self, data: bytes) -> Iterable[bytes]:
        query = dns.message.from_wire(data)
        if query.question[0].name.is_subdomain(PROBES) and not self.counts_probes:
            self.probes.append(query)
            return [answer(query, rcode="NXDOMAIN").to_wire()]
        self.queries.append(query)
        self.sources.append(self.client[1])
        replies = self.handler(query, self)
        self._asked.release()
        return [replies] if isinstance(replies, bytes) else replies or ()

    def _datagram(self) -> None:
        data, self.client = self.udp.recvfrom(4096)
        for reply in self._replies(data):
            self.udp.sendto(reply, self.client)

    def _stream(self) -> None:
        connection, self.client = self._tcp.accept()
        self.over_tcp += 1
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            stream = connection.makefile("rb")
            size = int.from_bytes(stream.read(2))
            for reply in self._replies(stream.read(size)):
                connection.sendall(len(reply).to_bytes(2) + reply)
