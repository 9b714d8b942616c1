"""Fetch /NAME over plain HTTP and throw it away in the kernel (MSG_TRUNC): the receiver is free.

Arguments: address, host, name of the file. Prints JSON: bytes and seconds.
"""

import json
import socket
import sys
import time


def main(address: str, host: str, name: str) -> None:
    began = time.perf_counter()
    with socket.create_connection((address, 80)) as sock:
        request = f"GET /{name} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        sock.sendall(request.encode())
        head = sock.recv(4096, socket.MSG_PEEK)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"the server says {head[:200]!r}")
        buffer, count = bytearray(1 << 20), 0
        while got := sock.recv_into(buffer, len(buffer), socket.MSG_TRUNC):
            count += got
    print(json.dumps({"bytes": count, "seconds": time.perf_counter() - began}))


main(*sys.argv[1:4])
