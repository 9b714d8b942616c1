"""A service for every port nobody listens on: greets and echoes over TCP, echoes over UDP.

Run as a script inside inet with the port as its argument, by any Python.
"""

from __future__ import annotations

import asyncio
import socket
import sys

GREETING = b"220 inet.example you reached inet\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak first, as SMTP or SSH servers do, then return what comes."""
    try:
        writer.write(GREETING)
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


class Echo(asyncio.DatagramProtocol):
    """Returns every datagram to its sender."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def main(port: int) -> None:
    """Serve both protocols over both families until killed."""
    loop = asyncio.get_running_loop()
    both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.bind(("::", port))
    await loop.create_datagram_endpoint(Echo, sock=both)
    server = await asyncio.start_server(serve, ["0.0.0.0", "::"], port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
