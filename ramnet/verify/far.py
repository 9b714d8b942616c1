"""The far end of the bench: a resolver and a server for every address, that say who they are."""

import contextlib
import selectors
import socket
import struct
import threading
from typing import Any, Final

import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from ramnet.kernel.bench import RESOLVER4
from ramnet.kernel.netns import Namespace

ALLOWED4: Final = "203.0.113.10"
ALLOWED6: Final = "2001:db8:2::a"
MARK: Final = b"you reached the far end"
TCP_PORTS: Final = (22, 53, 80, 443, 853, 1080, 3128, 5000, 7777, 8443)
_REPLY: Final = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (
    len(MARK),
    MARK,
)
_READ: Final = 65536


class Far:
    """Serves until ``close``; everything asked of its resolver is answered with one address."""

    def __init__(self, namespace: Namespace, *, ipv6: bool) -> None:
        """Listen, and answer from a thread of its own."""
        self._namespace = namespace
        self._selector = selectors.DefaultSelector()
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        for port in TCP_PORTS:
            self._watch(namespace.call(_listener, family, port), self._accept)
        self._watch(namespace.call(_resolver), self._resolve)
        self._wake, waker = socket.socketpair()
        self._watch(waker, self._stop)
        self._going = True
        self._thread = threading.Thread(target=self._serve, name="far", daemon=True)
        self._thread.start()

    def _watch(self, sock: socket.socket, work: Any) -> None:
        self._selector.register(sock, selectors.EVENT_READ, work)

    def _serve(self) -> None:
        while self._going:
            for key, _ in self._selector.select():
                with contextlib.suppress(OSError):
                    key.data(key.fileobj)

    def _stop(self, _: socket.socket) -> None:
        self._going = False

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setblocking(False)
        self._watch(connection, self._reply)

    def _reply(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_READ)
            if data:
                connection.send(_REPLY)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            connection.close()

    def _resolve(self, sock: socket.socket) -> None:
        data, sender = sock.recvfrom(_READ)
        try:
            question = dns.message.from_wire(data)
        except Exception:  # whatever it is, it is no question of the gate's
            return
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        for asked in question.question:
            kind = {dns.rdatatype.A: ALLOWED4, dns.rdatatype.AAAA: ALLOWED6}.get(asked.rdtype)
            if kind is not None:
                rdtype = dns.rdatatype.to_text(asked.rdtype)
                answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", rdtype, kind))
        sock.sendto(answer.to_wire(), sender)

    def ask(
        self, to: str, port: int, payload: bytes = b"", *, udp: bool = False, seconds: float = 1.0
    ) -> bytes:
        """Begin a conversation with the scope; what it answers, empty where it does not."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        with self._namespace.call(socket.socket, family, kind) as sock:
            if not udp:
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.settimeout(seconds)
            try:
                sock.connect((to, port))
                if payload:
                    sock.send(payload)
                return sock.recv(_READ)
            except OSError:
                return b""

    def send_raw(self, to: str, packet: bytes) -> None:
        """Put one IP packet on the wire to the scope."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        make = self._namespace.call
        with make(socket.socket, family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            sock.sendto(packet, (to, 0))

    def close(self) -> None:
        """End the thread and every socket."""
        self._wake.send(b"x")
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            sock = key.fileobj
            if isinstance(sock, socket.socket):
                sock.close()
        self._selector.close()
        self._wake.close()


def _listener(family: int, port: int) -> socket.socket:
    both = family == socket.AF_INET6
    address = ("::" if both else "0.0.0.0", port)
    sock = socket.create_server(address, family=family, dualstack_ipv6=both)
    sock.setblocking(False)
    return sock


def _resolver() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((RESOLVER4, 53))
    sock.setblocking(False)
    return sock
