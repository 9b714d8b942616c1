"""Does an upstream on this machine hand our questions back to us?

A stub whose own questions are redirected to our listeners would. It is asked for a name that
nobody else knows: if that name then arrives here, the stub is not used any more.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Final

from ramnet.gate.resolver.addresses import AddressRules, pack
from ramnet.gate.resolver.errors import UpstreamError
from ramnet.gate.resolver.exchange import DatagramExchange
from ramnet.gate.resolver.upstreams import Server
from ramnet.wire.dns import QTYPE, from_text

SUFFIX: Final = "loop.ramnet.example"
"""Below a top-level name that is never delegated (RFC 2606)."""
WAIT: Final = 5.0
"""Seconds for the probe to come back."""
_REMEDY: Final = (
    "hands our questions back to us; set [resolver] upstream to the servers that it asks itself"
)


class LoopProbes:
    """Probes that are out, by the name that each asks for."""

    def __init__(self, found: Callable[[Server], None]) -> None:
        self._found = found
        self._out: dict[bytes, Server] = {}
        self._tasks: dict[Server, asyncio.Task[None]] = {}

    def probe(self, servers: Iterable[Server], rules: AddressRules) -> None:
        """Try those servers that are on this machine, unless they are being tried."""
        for server in servers:
            near = rules.unfit(pack(server.endpoint.address), local=False)
            if near and server not in self._tasks:
                server.unusable = None  # it may have been mended; the probe will tell
                task = asyncio.get_running_loop().create_task(self._probe(server))
                self._tasks[server] = task

    def arrived(self, name: bytes) -> bool:
        """A client asks for ``name``: whether it is a probe of ours that came back."""
        server = self._out.get(name)
        if server is None:
            return False
        if not server.unusable:
            server.unusable = _REMEDY
            self._found(server)
        return True

    def close(self) -> None:
        """Stop waiting for probes."""
        for task in self._tasks.values():
            task.cancel()

    async def _probe(self, server: Server) -> None:
        name = from_text(f"{secrets.token_hex(8)}.{SUFFIX}")
        self._out[name] = server
        try:
            exchange = DatagramExchange(server.endpoint, name, QTYPE.A, edns=False)
            try:
                await asyncio.wait([exchange.outcome], timeout=WAIT)
            finally:
                exchange.close()
        except UpstreamError:
            pass  # it is dead, which its health will say
        finally:
            self._out.pop(name, None)
            self._tasks.pop(server, None)
