"""Resolver and proxy of one scope, under one policy."""

import socket
from collections.abc import Mapping
from typing import Any

from ramnet.audit import EventLog
from ramnet.gate.judge import Judge
from ramnet.gate.proxy.proxy import Proxy
from ramnet.gate.resolver import Resolver
from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.journal import Journal, Level
from ramnet.policy import Policy

Listeners = Mapping[str, list[socket.socket]]


class Gate:
    """Serves one scope. To be made inside the running event loop."""

    def __init__(self, spec: GateSpec, surroundings: Surroundings) -> None:
        """Refuses everything until ``replace_policy``. Raises ConfigError."""
        self._journal = Journal()
        self._log = EventLog(spec.event_log, echo=self._journal.write)
        self._judge = Judge(Policy.empty("No policy is known yet; try again in a moment."))
        self._resolver = Resolver(self._judge, spec, self._log)
        self._proxy = Proxy(self._judge, self._resolver, spec, self._log)
        self.update_surroundings(surroundings)

    async def start(self, listeners: Listeners) -> None:
        """Serve sockets by role: ``dns-udp``, ``dns-tcp``, ``transparent``, ``explicit``, and
        for covered containers ``cover-udp``, ``cover-tcp``, ``cover``.

        They belong to the gate from now on.
        """
        tcp = [*listeners.get("dns-tcp", []), *listeners.get("cover-tcp", [])]
        await self._resolver.start(
            listeners.get("dns-udp", []), tcp, listeners.get("cover-udp", [])
        )
        await self._proxy.start(
            listeners.get("transparent", []),
            listeners.get("explicit", []),
            listeners.get("cover", []),
        )

    async def listen(self, listeners: Listeners) -> None:
        """Serve further sockets of the role ``transparent``."""
        await self._proxy.start(listeners.get("transparent", []), ())

    def replace_policy(self, policy: Policy) -> None:
        """Put ``policy`` in force; what it no longer allows is cut."""
        self._judge.replace(policy)

    def update_surroundings(self, surroundings: Surroundings) -> None:
        """Follow the machine: addresses, container networks, resolv.conf."""
        self._resolver.update_surroundings(surroundings)
        self._proxy.update_surroundings(surroundings)

    def set_log_level(self, level: Level) -> None:
        """What is shown besides the audit log from now on."""
        self._journal.level = level

    def status(self) -> dict[str, Any]:
        """Counters and health, as JSON."""
        return {
            "resolver": self._resolver.status(),
            "proxy": self._proxy.status(),
            "events_lost": self._log.lost,
        }

    async def close(self) -> None:
        """Stop, and reset every connection."""
        await self._proxy.close()
        self._resolver.close()
        self._log.close()
