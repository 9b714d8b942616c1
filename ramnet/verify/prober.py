"""The process inside a scope that sends what it is told to, and says what came back.

``python -m ramnet.verify.prober CONFIG SCOPE``: it enters the scope's network namespace, then
reads one order a line (JSON) and answers each with one line. The order ``join`` moves it into the
scope's cgroup. It is root, and nothing more: packets made by hand go through IP sockets, so that
they meet the same rules as everybody's.
"""

import contextlib
import errno
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

_IP_NODEFRAG: Final = 22
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78
_IPV6_HDRINCL: Final = 36
_READ: Final = 65536
GREETING: Final = b"220 ramnet verify, a service of the scope"
_LINGER_NONE: Final = struct.pack("ii", 1, 0)

Order = dict[str, Any]
Answer = dict[str, Any]

_kept: dict[str, socket.socket] = {}


def main(config_path: str, scope_name: str) -> None:
    """Serve orders until standard input ends."""
    from ramnet import config
    from ramnet.kernel import admission, netns

    settings = config.load(config_path)
    scope = next(each for each in settings.scopes if each.name == scope_name)
    descriptor = os.open(netns.namespace_path(scope.netns), os.O_RDONLY | os.O_CLOEXEC)
    netns.enter(descriptor)
    os.close(descriptor)

    def join(_: Order) -> Answer:
        admission.enter(scope, settings.run_dir)
        return {}

    works: dict[str, Callable[[Order], Answer]] = {"join": join, **_WORKS}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = works[order["do"]](order)
        except OSError as error:
            answer = {"error": _name(error)}
        except Exception as error:  # of whatever kind: the parent must hear of it
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _name(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "silence"
    return errno.errorcode.get(error.errno or 0, "error")


def _exchange(order: Order) -> Answer:
    """Connect, send, and read until something decides it."""
    with _open(order) as sock:
        return _talk(sock, order)


def _open(order: Order) -> socket.socket:
    family = socket.AF_INET6 if ":" in order["to"] else socket.AF_INET
    kind = getattr(socket, order["kind"])
    if (uid := order.get("uid")) is not None:
        os.seteuid(uid)  # a socket has the uid that its maker has now
    try:
        sock = socket.socket(family, kind, order.get("protocol", 0))
    finally:
        os.seteuid(0)
    try:
        _prepare(sock, order)
    except OSError:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket, order: Order) -> None:
    sock.settimeout(order.get("seconds", 3.0))
    if sock.type == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    if device := order.get("device"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    if (mark := order.get("mark")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    if order.get("broadcast"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if source := order.get("from"):
        ipv6 = sock.family == socket.AF_INET6
        level, option = (
            (socket.IPPROTO_IPV6, _IPV6_FREEBIND) if ipv6 else (socket.IPPROTO_IP, _IP_FREEBIND)
        )
        sock.setsockopt(level, option, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source[0], source[1]))


def _talk(sock: socket.socket, order: Order) -> Answer:
    payload = bytes.fromhex(order.get("payload", ""))
    try:
        sock.connect((order["to"], order.get("port", 0)))
        refused = _send(sock, payload)
        read = _read(sock, order)
    except OSError as error:
        return {"error": _name(error)}
    if refused and "answer" not in read:
        # The rules said no at once; whether it is also heard from the network comes after.
        read.setdefault("at_once", refused)
    return read


def _send(sock: socket.socket, payload: bytes) -> str | None:
    """Why the kernel refused at once, if it did: what is rejected is EPERM to its sender."""
    if not payload:
        return None
    try:
        sock.send(payload)
    except PermissionError as error:
        return _name(error)
    return None


def _read(sock: socket.socket, order: Order) -> Answer:
    until = [bytes.fromhex(text) for text in order.get("until", [])]
    answer, deadline = b"", time.monotonic() + order.get("seconds", 3.0)
    ended = "silence"
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            piece = sock.recv(_READ)
        except TimeoutError:
            break
        except OSError as error:
            ended = _name(error)
            break
        answer += piece
        if not piece:
            ended = "closed"
            break
        ended = "answered"
        if not until or any(mark in answer for mark in until):
            break
    if answer:
        return {"answer": answer.hex(), "end": ended}
    return {"error": ended}


def _raw(order: Order) -> Answer:
    """One IP packet, header and all; or several."""
    to = order["to"]
    ipv6 = ":" in to
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        if ipv6:
            with contextlib.suppress(OSError):  # IPPROTO_RAW implies it
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_NODEFRAG, int(order.get("nodefrag", False)))
        if device := order.get("device"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        ends = []
        for packet in order["packets"]:
            try:
                sock.sendto(bytes.fromhex(packet), (to, 0))
                ends.append("sent")
            except OSError as error:
                ends.append(_name(error))
    return {"error": ends[-1]} if ends[-1] != "sent" else {"end": "sent"}


def _serve(order: Order) -> Answer:
    """A service on a port of every address: greets over TCP, answers over UDP."""
    port = order["port"]
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", port))
    for work in (_greet, _echo):
        sock = tcp if work is _greet else udp
        threading.Thread(target=work, args=(sock,), daemon=True).start()
    return {"port": port}


def _greet(listener: socket.socket) -> None:
    while True:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(GREETING)


def _echo(sock: socket.socket) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, sender = sock.recvfrom(_READ)
            sock.sendto(GREETING, sender)


def _keep(order: Order) -> Answer:
    """Open a connection, or a port, that later orders speak of by name."""
    sock = _open(order)
    _kept[order["name"]] = sock
    if order.get("listen"):
        sock.bind((order["to"], order.get("port", 0)))
        return {"port": sock.getsockname()[1]}
    return _talk(sock, order)


def _go_on(order: Order) -> Answer:
    """Say something more over what was kept, or hear what has come to it; closes it."""
    with _kept.pop(order["name"]) as sock:
        try:
            if payload := order.get("payload"):
                sock.send(bytes.fromhex(payload))
            return _read(sock, order)
        except OSError as error:
            return {"error": _name(error)}


_WORKS: Final[dict[str, Callable[[Order], Answer]]] = {
    "exchange": _exchange,
    "raw": _raw,
    "serve": _serve,
    "keep": _keep,
    "go on": _go_on,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
