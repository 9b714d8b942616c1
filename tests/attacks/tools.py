"""What an attacker has: sockets of the vm, hellos made by hand, a program in a container."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from tests.lab import Host, Lab, Process
from tests.lab import addresses as at
from tests.lab.processes import wait_until
from tests.unit.wire import hello

ALLOWED, BLOCKED = at.FILES_ALLOWED, at.FILES_BLOCKED
EXPLICIT = ("127.0.0.1", 3128)
FAMILIES = (socket.AF_INET, socket.AF_INET6)
SENTENCE = "acme has disallowed access to"
SINKHOLES = {"240.0.0.1", "100::1"}
OPEN = f"hello from {ALLOWED.name}"
LEAKED = f"hello from {BLOCKED.name}"

_DIRECTORIES = [f"--volume={path}:{path}:ro" for path in ("/usr", "/lib", "/lib64", "/etc/ssl")]


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextlib.contextmanager
def connected(vm: Host, address: str, port: int, seconds: float = 5) -> Iterator[socket.socket]:
    """A TCP connection of the vm's."""
    with vm.socket(family_of(address)) as sock:
        sock.settimeout(seconds)
        sock.connect((address, port))
        yield sock


def read_all(sock: socket.socket) -> bytes:
    """What comes until the end, a reset, or the socket's time limit."""
    data = b""
    with contextlib.suppress(OSError):
        while more := sock.recv(65536):
            data += more
    return data


def speak(
    vm: Host, address: str, port: int, *pieces: bytes, seconds: float = 5, finish: bool = True
) -> str:
    """Connect, send the pieces (each a segment), say the end, and return what was answered.

    A refusal before all is sent is an answer like any other.
    """
    with contextlib.suppress(ConnectionResetError), connected(vm, address, port, seconds) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            for piece in pieces:
                sock.sendall(piece)
            if finish:
                sock.shutdown(socket.SHUT_WR)
        return read_all(sock).decode("latin-1")
    return ""  # reset before connect(2) could return


def get(host: str, path: str = "/hello.txt", *fields: str) -> bytes:
    """An HTTP/1.1 request for ``host``, the last on its connection."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *fields, "Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def client_hello(name: str | None, *more: hello.Extension) -> bytes:
    """A whole ClientHello (one message, without its records) as OpenSSL would answer it."""
    names = [] if name is None else [hello.server_name(name.encode("latin-1"))]
    groups = (10, hello.vector(2, b"\0\x1d\0\x17"))
    signatures = (13, hello.vector(2, b"\x04\x03\x08\x04\x04\x01"))
    points = (11, hello.vector(1, b"\0"))
    suites = b"\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30\x13\x01"
    return hello.message([*names, groups, signatures, points, *more], suites=suites)


def refused_tls(sock: socket.socket) -> bool:
    """Whether a ClientHello was answered by the gate: an alert, a reset, or its own certificate.

    That one's handshake cannot be told from a server's here; the capture tells who sent it.
    """
    try:
        return sock.recv(1) in (b"", b"\x15", b"\x16")
    except ConnectionError:
        return True


def tls(sock: socket.socket, name: str, request: bytes) -> str:
    """Speak TLS on ``sock``, believing any certificate; what was answered to ``request``."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(sock, server_hostname=name) as wrapped:
            wrapped.sendall(request)
            return read_all(wrapped).decode("latin-1")
    except OSError as error:
        return str(error)


def connect(target: str, *fields: str) -> bytes:
    """A CONNECT request."""
    return ("\r\n".join([f"CONNECT {target} HTTP/1.1", *fields]) + "\r\n\r\n").encode("latin-1")


def tunnel(vm: Host, proxy: tuple[str, int], target: str, *pieces: bytes) -> str:
    """CONNECT, then the pieces once it is answered; all that came."""
    with connected(vm, *proxy) as sock:
        sock.sendall(connect(target))
        head = sock.recv(4096)
        if b" 200 " in head.split(b"\r\n")[0]:
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    sock.sendall(piece)
        return (head + read_all(sock)).decode("latin-1")


def socks4(host: str, port: int = 80) -> bytes:
    """A SOCKS 4 request for an address, 4a for a name."""
    numeric = host.replace(".", "").isdigit()
    address = socket.inet_aton(host) if numeric else b"\0\0\0\1"
    name = b"" if numeric else host.encode() + b"\0"
    return b"\x04\x01" + port.to_bytes(2, "big") + address + b"me\0" + name


def socks5(host: str, port: int = 80) -> bytes:
    """A SOCKS 5 request for a name or an address, after the greeting."""
    if ":" in host:
        address = b"\x04" + socket.inet_pton(socket.AF_INET6, host)
    elif host.replace(".", "").isdigit():
        address = b"\x01" + socket.inet_aton(host)
    else:
        address = b"\x03" + bytes([len(host)]) + host.encode()
    return b"\x05\x01\x00" + address + port.to_bytes(2, "big")


def ask(vm: Host, server: str, query: dns.message.Message | bytes, *, tcp: bool = False,
        port: int = 53) -> dns.message.Message | None:  # fmt: skip
    """Ask a name server from the vm; None for no answer within two seconds."""
    data = query if isinstance(query, bytes) else query.to_wire()
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with vm.socket(family_of(server), kind) as sock:
        sock.settimeout(2)
        try:
            sock.connect((server, port))
            sock.sendall(len(data).to_bytes(2, "big") + data if tcp else data)
            reply = sock.recv(65535)
        except OSError:
            return None
    return dns.message.from_wire(reply[2:] if tcp else reply)


def resolve(vm: Host, name: str, kind: str = "A", *, server: str = at.RESOLVER.ipv4,
            tcp: bool = False) -> set[str]:  # fmt: skip
    """The addresses that the vm is told for ``name``."""
    reply = ask(vm, server, dns.message.make_query(name, kind), tcp=tcp)
    if reply is None:
        return set()
    wanted = dns.rdatatype.from_text(kind)
    return {str(record) for rrset in reply.answer if rrset.rdtype == wanted for record in rrset}


def told(vm: Host, name: str) -> set[str]:
    """The addresses of both families."""
    return resolve(vm, name, "A") | resolve(vm, name, "AAAA")


Answer = Callable[[dns.message.Message], Iterable[dns.rrset.RRset]]


class FakeResolver:
    """A name server on an address of inet that answers as a test wants."""

    def __init__(self, inet: Host, address: str, answer: Answer) -> None:
        self._answer = answer
        self.asked: list[str] = []
        self._socket = inet.socket(family_of(address), socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        self._thread = threading.Thread(target=self._serve, name="fake resolver", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            self.asked.append(str(query.question[0].name))
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.RA
            reply.answer = list(self._answer(query))
            self._socket.sendto(reply.to_wire(), client)

    def __enter__(self) -> FakeResolver:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()


@contextlib.contextmanager
def upstream(lab: Lab, answer: Answer) -> Iterator[FakeResolver]:
    """Let the vm's resolv.conf name a lying server until the block ends."""
    address = "198.51.100.54"
    with FakeResolver(lab.inet, address, answer) as server:
        lab.vm.set_resolver(address)
        try:
            _followed(lab, address)
            yield server
        finally:
            lab.vm.set_resolver(at.RESOLVER.ipv4)
            _followed(lab, at.RESOLVER.ipv4)


def _followed(lab: Lab, address: str) -> None:
    lab.ramnet.wait_status(
        lambda status: address in str(status["scopes"][0]["resolver"]["upstreams"])
    )


def records(query: dns.message.Message, *addresses: str, ttl: int = 60) -> list[dns.rrset.RRset]:
    """A and AAAA records that answer ``query`` with those of its family."""
    question = query.question[0]
    wanted = [a for a in addresses if (":" in a) == (question.rdtype == dns.rdatatype.AAAA)]
    if not wanted or question.rdtype not in (dns.rdatatype.A, dns.rdatatype.AAAA):
        return []
    kind = dns.rdatatype.to_text(question.rdtype)
    return [dns.rrset.from_text(question.name, ttl, "IN", kind, *wanted)]


@contextlib.contextmanager
def server(host: Host, address: str, port: int, greeting: bytes = b"") -> Iterator[list[bytes]]:
    """A TCP service of ``host``: greets, and answers each line with ``heard`` and the line."""
    heard: list[bytes] = []
    listener = host.socket(family_of(address))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen()

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.sendall(greeting)
            while data := client.recv(65536):
                heard.append(data)
                client.sendall(b"heard " + data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def wait_led_to_the_gate(vm: Host, port: int) -> None:
    """Wait until connections to a new local service go to the gate (four looks a second).

    Before that they reach it directly, which opens nothing: what such a service opens is decided.
    """
    element = ["nft", "get", "element", "inet", "ramnet", "listening", f"{{ {port} }}"]
    wait_until(f"port {port} is in the set", lambda: vm.run(element).ok)


class Containers:
    """Programs in containers of the vm's dockerd; the machine's own Python is in each."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._names: list[str] = []
        self._networks: list[str] = []
        self.image = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
        if not lab.docker.run("images", "--quiet", self.image).out.strip():
            lab.docker.run("pull", self.image).check()

    def run(self, *arguments: str, options: Iterable[str] = ()) -> str:
        """Run a command to its end; all that it said."""
        return self._lab.docker.run("run", "--rm", *options, self.image, *arguments).text

    def start(self, name: str, program: str, *, options: Iterable[str] = ()) -> str:
        """Start a Python program and return the container's address."""
        self._names.append(name)
        self._lab.docker.run(
            "run", "--detach", "--name", name, *_DIRECTORIES, *options, self.image,
            "/usr/bin/python3", "-I", "-S", "-c", program,
        ).check()  # fmt: skip
        wait_until(f"container {name}", lambda: "ready" in self._logs(name))
        where = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self._lab.docker.run("inspect", "--format", where, name).check().out.strip()

    def network(self, name: str) -> str:
        """A user-defined network."""
        self._networks.append(name)
        self._lab.docker.run("network", "create", name).check()
        return name

    def _logs(self, name: str) -> str:
        return self._lab.docker.run("logs", name).text

    def close(self) -> None:
        """Remove what was made."""
        if self._names:
            self._lab.docker.run("rm", "--force", *self._names).check()
        for network in self._networks:
            self._lab.docker.run("network", "rm", network).check()


def start_python(host: Host, program: str, *arguments: str, log: str) -> Process:
    """A Python program on a host, that prints "ready" when it is."""
    process = host.start([sys.executable, "-I", "-u", "-c", program, *arguments], log=log)
    wait_until(log, lambda: "ready" in process.log())
    return process
