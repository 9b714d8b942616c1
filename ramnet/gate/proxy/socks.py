"""The server's side of SOCKS 4, 4a and 5: what the client wants, and how it is answered."""

import asyncio
import socket
from typing import Final

from ramnet.gate.proxy import limits
from ramnet.gate.proxy.sockets import Peeker, send_all, take
from ramnet.wire import socks
from ramnet.wire.result import Malformed, NeedMore
from ramnet.wire.socks import Reply, Socks4Request, Socks5Greeting, Socks5Request


class SocksError(Exception):
    """The client breaks the protocol, or wants what is not offered."""


class SocksServer:
    """Negotiates with one client, whose first message is still in the socket."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._version5 = False

    async def negotiate(self, first: Socks4Request | Socks5Greeting) -> tuple[str, int]:
        """Take the request; its host and port. Raises SocksError and OSError."""
        take(self._client, first.length)
        if isinstance(first, Socks4Request):
            request: Socks4Request | Socks5Request = first
        else:
            self._version5 = True
            await self._authenticate(first)
            request = await self._read_request()
        if request.command != socks.CONNECT:
            await self.answer(Reply.COMMAND_NOT_SUPPORTED)
            raise SocksError("a SOCKS command other than CONNECT")
        return request.host, request.port

    @property
    def success(self) -> bytes:
        """The answer that the tunnel stands."""
        return self._reply(Reply.SUCCEEDED)

    async def answer(self, reply: Reply) -> None:
        """Tell what went wrong."""
        await self._send(self._reply(reply))

    def _reply(self, reply: Reply) -> bytes:
        if self._version5:
            return socks.socks5_reply(reply)
        return socks.socks4_reply(granted=reply is Reply.SUCCEEDED)

    async def _authenticate(self, greeting: Socks5Greeting) -> None:
        """No authentication where offered; else any user and password will do."""
        if socks.NO_AUTHENTICATION in greeting.methods:
            await self._send(socks.socks5_method(socks.NO_AUTHENTICATION))
        elif socks.USER_PASSWORD in greeting.methods:
            await self._send(socks.socks5_method(socks.USER_PASSWORD))
            await self._read_credentials()
            await self._send(socks.credentials_reply(accepted=True))
        else:
            await self._send(socks.socks5_method(socks.NO_ACCEPTABLE_METHOD))
            raise SocksError("no SOCKS method in common")

    async def _read_credentials(self) -> None:
        reading = _Reading(self._client)
        while isinstance(result := socks.read_credentials(reading.data), NeedMore):
            await reading.more(result)
        self._take(result)

    async def _read_request(self) -> Socks5Request:
        reading = _Reading(self._client)
        while isinstance(result := socks.read_socks5_request(reading.data), NeedMore):
            await reading.more(result)
        self._take(result)
        assert isinstance(result, Socks5Request)
        return result

    def _take(self, message: socks.Credentials | Socks5Request | Malformed) -> None:
        if isinstance(message, Malformed):
            raise SocksError(message.reason)
        take(self._client, message.length)

    async def _send(self, data: bytes) -> None:
        await send_all(self._client, data, limits.ANSWER_TIME)


class _Reading:
    """One message, looked at until it is whole."""

    def __init__(self, sock: socket.socket) -> None:
        self._peeker = Peeker(sock)
        self._deadline: Final = asyncio.get_running_loop().time() + limits.DECISION_TIME
        self._peeker.look()

    @property
    def data(self) -> bytes:
        return self._peeker.data

    async def more(self, wanted: NeedMore) -> None:
        ended = self._peeker.ended
        if ended or not await self._peeker.more(wanted.total, self._deadline):
            raise SocksError("the SOCKS request ended in the middle, or came too slowly")
        if self._peeker.ended and len(self.data) < wanted.total:
            raise SocksError("the SOCKS request ended in the middle")
