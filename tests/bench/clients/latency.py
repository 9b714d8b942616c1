"""How long until a new TLS connection has the server's first bytes; one after the other.

Arguments: address, name, how often, and PORT of an explicit proxy on 127.0.0.1 where there is one.
Prints JSON: p50 and p99 in milliseconds.
"""

import json
import socket
import ssl
import sys
import time


def hello(name: str) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without an answer")


def once(address: tuple[str, int], connect: bytes, first: bytes) -> float:
    began = time.perf_counter()
    with socket.create_connection(address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connect:
            sock.sendall(connect)
            said = sock.recv(4096)
            if b" 200 " not in said:
                raise SystemExit(f"the proxy says {said!r}")
        sock.sendall(first)
        if sock.recv(1) != b"\x16":
            raise SystemExit("no handshake came back")
        return time.perf_counter() - began


def main(address: str, name: str, count: str, proxy: str = "") -> None:
    to = ("127.0.0.1", int(proxy)) if proxy else (address, 443)
    connect = f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n".encode() if proxy else b""
    first = hello(name)
    for _ in range(20):
        once(to, connect, first)
    took = sorted(once(to, connect, first) * 1000 for _ in range(int(count)))
    print(json.dumps({"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100]}))


main(*sys.argv[1:])
