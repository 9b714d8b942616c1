"""A real proxy in a network namespace of its own, with real redirects, servers and clients.

The proxy runs on a thread inside the namespace. Sockets made there by ``CLIENT_UID`` are
redirected to it by nftables, as the kernel room's rules do; everything else is the gate's.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import trustme

from ramnet.audit import Event, EventLog
from ramnet.config import Denial, Proxy, Resolver
from ramnet.gate.denial.authority import create_authority
from ramnet.gate.judge import Judge
from ramnet.gate.proxy import proxy as proxy_module
from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.policy import Policy, compile_policy, read_document

CLIENT_UID = 65534
TRANSPARENT = 928
EXPLICIT = 3128
HERE = "192.0.2.1"
"""An address of the namespace's own."""
FAR = "198.51.100.10"
OTHER = "198.51.100.20"
FAR6 = "2001:db8::10"
CONTAINER = "172.17.0.2"
SINKHOLE = "240.0.0.1"

POLICY = """
organization = "acme"
contact = "Ask it-help@acme.example."
docker_hub = false
[[registry]]
host = "good.example"
[[registry]]
host = "also.example"
[[registry]]
host = "ports.example:5000"
[[registry]]
host = "denied.example"
allowed = false
"""
SENTENCE = "acme has disallowed access to {}. Ask it-help@acme.example. (ramnet)"

_SETUP = f"""
ip link set lo up
ip addr add {HERE}/32 dev lo
ip addr add {FAR}/32 dev lo
ip addr add {OTHER}/32 dev lo
ip addr add {CONTAINER}/32 dev lo
ip -6 addr add {FAR6}/128 dev lo nodad
ip route add local {SINKHOLE}/32 dev lo
sysctl -qw net.ipv4.ip_local_port_range="20000 60999"
nft -f - <<'EOR'
table inet test {{ chain output {{ type nat hook output priority -101;
  meta skuid {CLIENT_UID} meta l4proto tcp redirect to :{TRANSPARENT};
}}
}}
EOR
"""

T = TypeVar("T")


class Answer(NamedTuple):
    """What the fake resolver gives."""

    addresses: tuple[str, ...]


class Names:
    """A resolver that knows what the test tells it."""

    def __init__(self) -> None:
        self.addresses: dict[str, tuple[str, ...]] = {"good.example": (FAR,)}
        self.given: dict[str, frozenset[str]] = {}
        self.asked: list[str] = []

    async def resolve(self, name: str) -> Answer:
        """Addresses, or a refusal."""
        self.asked.append(name)
        if name not in self.addresses:
            raise LookupError("no such name")
        return Answer(self.addresses[name])

    def known(self, name: str) -> Answer | None:
        """Nothing: all has to be asked for."""
        return None

    def gave(self, address: str) -> frozenset[str]:
        """Names for an address."""
        return self.given.get(address, frozenset())


class Events(EventLog):
    """Keeps events, and wakes whoever waits for one."""

    def __init__(self) -> None:
        super().__init__("/dev/null")
        self.all: list[Event] = []
        self._new = threading.Condition()

    def write(self, event: Event) -> None:
        """Keep it."""
        with self._new:
            self.all.append(event)
            self._new.notify_all()

    def wait(self, **wanted: object) -> Event:
        """The first event with these values; waits for it up to 10 s."""

        def found() -> Event | None:
            for event in self.all:
                if all(getattr(event, key) == value for key, value in wanted.items()):
                    return event
            return None

        with self._new:
            assert self._new.wait_for(lambda: found() is not None, 10), (wanted, self.all)
            event = found()
            assert event is not None
            return event


def compiled(text: str) -> Policy:
    """A policy from TOML."""
    return Policy(compile_policy(read_document(text.encode(), source="test")))


class Rig:
    """Everything, on one thread."""

    def __init__(self, folder: Path, proxy: Proxy | None = None, **spec: Any) -> None:
        self.names, self.events = Names(), Events()
        self.judge = Judge(compiled(POLICY))
        self.servers: list[Server] = []
        # pytest's own folders are closed to CLIENT_UID.
        self._public = tempfile.TemporaryDirectory()
        Path(self._public.name).chmod(0o755)
        self.authority = Path(self._public.name) / "ca.pem"
        certificate, key = create_authority("acme")
        self.authority.write_bytes(certificate)
        (folder / "ca.key").write_bytes(key)
        settings: dict[str, Any] = {
            "scope": "test",
            "resolver": Resolver(),
            "proxy": proxy or Proxy(explicit=[f"127.0.0.1:{EXPLICIT}"]),
            "denial": Denial(),
            "sinkhole4": SINKHOLE,
            "sinkhole6": None,
            "event_log": "/dev/null",
            "ca_certificate": str(self.authority),
            "ca_key": str(folder / "ca.key"),
        }
        self.spec = GateSpec(**(settings | spec))
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="rig")
        self._thread.start()
        self._started.result(10)

    # The thread of the namespace.

    def _run(self) -> None:
        try:
            _unshare()
            subprocess.run(["sh", "-ec", _SETUP], check=True)
            self.tid = threading.get_native_id()
            asyncio.run(self._serve())
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            raise

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.proxy = proxy_module.Proxy(self.judge, self.names, self.spec, self.events)
        self.proxy.update_surroundings(
            Surroundings(
                addresses=["127.0.0.1", "::1", HERE],
                networks={"172.17.0.0/16": 1},
                resolv_conf="",
                gate_ports=[TRANSPARENT, EXPLICIT],
            )
        )
        transparent = [_listen("127.0.0.1", TRANSPARENT), _listen("::1", TRANSPARENT)]
        await self.proxy.start(transparent, [_listen("127.0.0.1", EXPLICIT)])
        self._started.set_result(None)
        await self._stop.wait()
        await self.proxy.close()

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the loop's thread, inside the namespace."""

        async def work() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(20)

    def stop(self) -> None:
        """Stop the proxy."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def close(self) -> None:
        """Stop all; nothing may be left open."""
        self.stop()
        for server in self.servers:
            server.close()
        self._public.cleanup()
        assert len(self.proxy._services.flows) == 0

    # What tests use.

    def listen(self, handler: "Handler", address: str = FAR, port: int = 0) -> "Server":
        """A server inside the namespace; each connection is handled on a thread."""
        server = Server(self.call(lambda: _listen(address, port)), handler)
        self.servers.append(server)
        return server

    def connect(self, address: str, port: int, uid: int = CLIENT_UID) -> socket.socket:
        """A client socket, redirected unless made by another uid."""
        sock = self.call(lambda: _socket_of(uid, ":" in address))
        sock.settimeout(10)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A program inside the namespace, redirected."""
        entered = [
            "nsenter", f"--net=/proc/{os.getpid()}/task/{self.tid}/ns/net",
            "setpriv", f"--reuid={CLIENT_UID}", "--clear-groups", *command,
        ]  # fmt: skip
        return subprocess.run(entered, capture_output=True, text=True, timeout=30, **options)

    def nft(self, *commands: str) -> None:
        """Change the rules of the namespace."""
        text = "\n".join(commands)
        self.call(lambda: subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True))

    def set_policy(self, text: str) -> None:
        """Put another policy in force."""
        policy = compiled(text)
        self.call(lambda: self.judge.replace(policy))


Handler = Callable[[socket.socket], None]


class Server:
    """Accepts until closed; keeps what handlers raise for nobody."""

    def __init__(self, listener: socket.socket, handler: Handler) -> None:
        self.address, self.port = listener.getsockname()[:2]
        self.accepted = 0
        self._listener, self._handler = listener, handler
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        listener.setblocking(True)
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def close(self) -> None:
        """Stop, cutting what is open."""
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(10)
        self._listener.close()
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if self._closing.wait(0.01):
                    return
                continue  # out of descriptors, in the test of that
            self.accepted += 1
            thread = threading.Thread(target=self._handle, args=(sock,))
            self._threads.append(thread)
            self._open.add(sock)
            thread.start()

    def _handle(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, ssl.SSLError):
            sock.settimeout(20)
            self._handler(sock)
        self._open.discard(sock)


def echo(sock: socket.socket) -> None:
    """Say everything back, then the end."""
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def speaks_first(sock: socket.socket) -> None:
    """Greet, then echo."""
    sock.sendall(b"220 welcome\r\n")
    echo(sock)


class Web:
    """A keep-alive HTTP server that tells its label and keeps what it was sent."""

    def __init__(self, label: str) -> None:
        self.label = label.encode()
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    def __call__(self, sock: socket.socket) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = sock.recv(65536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            self.heads.append(head)
            length = next(
                (
                    int(x.split(b":")[1])
                    for x in head.split(b"\r\n")
                    if x[:15] == b"Content-Length:"
                ),
                0,
            )
            while len(data) < length:
                data += sock.recv(65536)
            body, data = data[:length], data[length:]
            if b"chunked" in head:
                while not data.endswith(b"0\r\n\r\n"):
                    data += sock.recv(65536)
                body, data = data, b""
            self.bodies.append(body)
            sock.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.label), self.label)
            )
            if b"Connection: close" in head:
                return


class Certificates:
    """Certificates for test servers by one authority."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.path = folder / "servers-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.path))

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        """A client's context that trusts these servers."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context


def over_tls(context: ssl.SSLContext, handler: Handler) -> Handler:
    """``handler`` inside TLS."""

    def handle(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as tls:
            tls.do_handshake()
            handler(tls)

    return handle


def hello(name: str | None) -> bytes:
    """A real ClientHello for ``name``, by OpenSSL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def read_all(sock: socket.socket) -> bytes:
    """Until the end, or the reset."""
    data = bytearray()
    while more := sock.recv(65536):
        data += more
    return bytes(data)


def read_some(sock: socket.socket, count: int) -> bytes:
    """Exactly ``count`` bytes, or fewer at the end."""
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def was_reset(sock: socket.socket) -> bool:
    """Whether the connection ends by a reset before anything is said."""
    try:
        return sock.recv(1) == b"never"
    except ConnectionResetError:
        return True


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1024)
    return listener


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000):
        raise OSError(ctypes.get_errno(), "unshare")


def socket_of_a_client() -> socket.socket:
    """For ``Rig.call``: an IPv4 socket that will be redirected, not connected yet."""
    return _socket_of(CLIENT_UID, six=False)


def _socket_of(uid: int, six: bool) -> socket.socket:
    libc = ctypes.CDLL(None)
    libc.setfsuid(uid)
    try:
        return socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    finally:
        libc.setfsuid(0)


@contextlib.contextmanager
def rig_in(folder: Path, **options: Any) -> Iterator[Rig]:
    """A rig for one ``with``."""
    rig = Rig(folder, **options)
    try:
        yield rig
    finally:
        rig.close()
