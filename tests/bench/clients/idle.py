"""Hold COUNT connections on which a ClientHello was answered; say "held", end with standard input.

Arguments: address, name, count.
"""

import resource
import socket
import ssl
import sys


def hello(name: str) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without an answer")


def main(address: str, name: str, count: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(count) + 100,) * 2)
    first, held = hello(name), []
    for _ in range(int(count)):
        sock = socket.create_connection((address, 443))
        sock.sendall(first)
        held.append(sock)
        if len(held) % 64 == 0:  # not more at once than a backlog holds
            check(held[-64:])
    check(held)
    print("held", flush=True)
    sys.stdin.read()


def check(socks: list[socket.socket]) -> None:
    for sock in socks:
        if sock.recv(1, socket.MSG_PEEK) != b"\x16":
            raise SystemExit("no handshake came back")


main(*sys.argv[1:4])
