"""The gate's listening sockets, made by the privileged side inside the scope's namespace."""

import errno
import socket
from collections.abc import Sequence
from typing import Final

from ramnet.config_values import parse_endpoint
from ramnet.errors import KernelRefusedError
from ramnet.ruleset import Ports

RESOLVER_PORT: Final = 927
"""Below 1024, so that no unprivileged program can take it while the service is away."""

_LAST_PORT: Final = 1023
_BACKLOG: Final = 4096
_LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_ANY: Final = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
_ROLES: Final = ("dns-udp", "dns-tcp", "transparent")
_COVER_ROLES: Final = ("cover-udp", "cover-tcp", "cover")
_IP_PKTINFO: Final = 8  # linux/in.h

Listeners = dict[str, list[socket.socket]]
"""Sockets by role: ``dns-udp``, ``dns-tcp``, ``transparent``, ``explicit``; for covered containers
``cover-udp``, ``cover-tcp``, ``cover``."""


def open_listeners(explicit: list[str]) -> tuple[Ports, Listeners, list[str]]:
    """Open all of them in the calling thread's network namespace.

    The first pair of free ports from ``RESOLVER_PORT`` on is taken, so that the rules stay the
    same over a restart wherever they can. Addresses of ``proxy.explicit`` that cannot be bound
    are named last: their ports are anybody's, so nobody who takes one may keep the rules away.

    Raises:
        KernelRefusedError: no pair of ports is free, or there is no privilege for them.
    """
    for first in range(RESOLVER_PORT, _LAST_PORT, 2):
        ports = Ports(resolver=first, proxy=first + 1)
        listeners = _open_pair(ports, _LOOPBACKS, _ROLES)
        if listeners is not None:
            listeners["explicit"], problems = open_explicit(explicit)
            return ports, listeners, problems
    raise KernelRefusedError(f"no two free ports between {RESOLVER_PORT} and {_LAST_PORT}")


def open_cover() -> tuple[Ports, Listeners]:
    """Open those for covered containers: on any address, since that of a bridge comes and goes.

    Raises:
        KernelRefusedError: no pair of ports is free, or there is no privilege for them.
    """
    for first in range(RESOLVER_PORT, _LAST_PORT, 2):
        ports = Ports(resolver=first, proxy=first + 1)
        listeners = _open_pair(ports, _ANY, _COVER_ROLES)
        if listeners is not None:
            for sock in listeners["cover-udp"]:
                if sock.family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                else:
                    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            return ports, listeners
    raise KernelRefusedError(f"no two free ports between {RESOLVER_PORT} and {_LAST_PORT}")


def close_listeners(listeners: Listeners) -> None:
    """Close every socket."""
    for sockets in listeners.values():
        for sock in sockets:
            sock.close()


def _open_pair(
    ports: Ports, addresses: Sequence[tuple[int, str]], roles: tuple[str, str, str]
) -> Listeners | None:
    """``roles``: of the resolver over UDP and over TCP, and of the proxy."""
    listeners: Listeners = {role: [] for role in roles}
    kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_STREAM)
    numbers = (ports.resolver, ports.resolver, ports.proxy)
    try:
        for family, address in addresses:
            if family == socket.AF_INET6 and not _has_ipv6():
                continue
            for role, kind, port in zip(roles, kinds, numbers, strict=True):
                listeners[role].append(_open(family, kind, address, port))
    except OSError as error:
        close_listeners(listeners)
        if error.errno == errno.EADDRINUSE:
            return None
        raise KernelRefusedError(f"cannot listen for the gate: {error.strerror}") from None
    return listeners


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _open(family: int, kind: int, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def open_explicit(texts: list[str]) -> tuple[list[socket.socket], list[str]]:
    """Open those of the explicit proxy; what cannot be bound is told in sentences."""
    opened, problems = [], []
    for text in texts:
        endpoint = parse_endpoint(text)
        family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
        try:
            opened.append(_open(family, socket.SOCK_STREAM, endpoint.address, endpoint.port))
        except OSError as error:
            problems.append(
                f"proxy.explicit {text!r} cannot be bound ({error.strerror}); the rules stand "
                "without it, restart ramnet when it is free"
            )
    return opened, problems
