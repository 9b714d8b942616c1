"""Tries to send to where nothing is allowed, from the first moment of init until power-off.

Writes the number of tries to ``/run/prober`` after every round.
"""

import contextlib
import socket
import time
from pathlib import Path
from typing import Final

PAUSE: Final = 0.1
PORT: Final = 4242
UDP: Final = ("198.51.100.66", "2001:db8:2::66")
TCP: Final = ("203.0.113.66", "2001:db8:2::66")
_QUESTION: Final = (
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04leak\x07example\x00\x00\x01\x00\x01"
)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def probe() -> None:
    """One datagram, one question to a foreign resolver and one SYN to each address."""
    for address in UDP:
        with contextlib.suppress(OSError), socket.socket(_family(address), socket.SOCK_DGRAM) as s:
            s.sendto(b"probe", (address, PORT))
            s.sendto(_QUESTION, (address, 53))
    for address in TCP:
        with contextlib.suppress(OSError), socket.socket(_family(address)) as s:
            s.setblocking(False)
            s.connect((address, PORT))


def main() -> None:
    """For ever."""
    tries = 0
    while True:
        probe()
        tries += 1
        Path("/run/prober.new").write_text(f"{tries}\n")
        Path("/run/prober.new").replace("/run/prober")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
