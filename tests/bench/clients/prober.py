"""Ask a DNS server one question after the other and note the longest silence and wrong answers.

Arguments: server, an allowed name, its address, a refused name. A line each: {"stall_ms": the
longest time one question took, "wrong": answers that the policy does not give, "asked": questions}
whenever a line comes on standard input; ends with it.
"""

import json
import select
import socket
import sys
import time


def question(number: int, name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def main(server: str, allowed: str, address: str, refused: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((server, 53))
    sock.settimeout(5)
    right = socket.inet_aton(address)
    number = wrong = asked = 0
    longest = 0.0
    while True:
        for name, is_allowed in ((allowed, True), (refused, False)):
            number = (number + 1) % 65536
            began = time.perf_counter()
            sock.send(question(number, name))
            try:
                answer = sock.recv(4096)
            except TimeoutError:
                answer = b""
            longest = max(longest, time.perf_counter() - began)
            asked += 1
            wrong += (right in answer) != is_allowed
        if select.select([sys.stdin], [], [], 0.001)[0]:
            if not sys.stdin.readline():
                return
            said = {"stall_ms": longest * 1000, "wrong": wrong, "asked": asked}
            print(json.dumps(said), flush=True)
            longest = 0.0
            wrong = asked = 0


main(*sys.argv[1:5])
