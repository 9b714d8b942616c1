"""The probes from inside a scope of this machine, as it is and with its own gate.

What is asked for are documentation addresses, picked anew each time, and names that nobody can
have; nobody else's server is spoken to. What of it leaves is seen on the scope's uplinks.
"""

import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from ramnet.config import Config
from ramnet.config_values import parse_endpoint
from ramnet.errors import KernelRefusedError
from ramnet.kernel.examination import Examination
from ramnet.kernel.netns import Namespace
from ramnet.kernel.uplinks import uplinks
from ramnet.ruleset import Tier
from ramnet.verify.capture import Capture, Packet
from ramnet.verify.inside import Inside
from ramnet.verify.probe import Place
from ramnet.verify.probes import every_probe
from ramnet.verify.report import Outcome
from ramnet.verify.walk import Walk


def walk(config_path: Path, settings: Config, found: Examination) -> Iterator[Outcome]:
    """Try everything that asks nobody else. Raises KernelRefusedError where nothing can be."""
    namespace = Namespace(found.scope.netns)
    with contextlib.ExitStack() as undo:
        undo.callback(namespace.close)
        devices = namespace.call(uplinks)
        if not devices:
            raise KernelRefusedError(
                f"scope {found.scope.name}: there is no way out of its network namespace to watch; "
                "without --live the probes are tried in namespaces of their own"
            )
        capture = Capture(namespace, devices, namespace, devices, outgoing=True)
        undo.callback(capture.close)
        inside = Inside(config_path, found.scope.name)
        undo.callback(inside.close)
        place = _place(namespace, inside, settings, found, devices[0])
        if place.member:
            inside.ask("join")
        walk = Walk(found.scope.name, place, capture, _Marked(place))
        yield walk.see()
        for probe in every_probe(place):
            yield walk.walk(probe)
        yield walk.see()


def _place(
    namespace: Namespace, inside: Inside, settings: Config, found: Examination, device: str
) -> Place:
    token = secrets.token_hex(4)
    blocked, foreign = _addresses(), _addresses()
    own = {v: a for v, to in blocked.items() if (a := namespace.call(_own_address, to))}
    decided = {4, 6} if found.tier is Tier.REDIRECT else {r.family for r in found.planned.rules}
    explicit = [parse_endpoint(text) for text in settings.proxy.explicit]
    return Place(
        inside=inside,
        own=own,
        blocked={version: blocked[version] for version in own},
        foreign={version: foreign[version] for version in own},
        allowed={},
        blocked_name=f"blocked-{token}.ramnet-verify.example",
        allowed_name="",
        secret=f"ramnet {token}".encode(),
        decided=frozenset(decided & own.keys()),
        device=device,
        tier=found.tier.value,
        member=found.means != "namespace",
        lacks=found.lacks,
        explicit=next((e.port for e in explicit if e.address == "127.0.0.1"), None),
    )


def _addresses() -> dict[int, str]:
    """Of the documentation's networks (RFC 5737, RFC 3849)."""
    low = int(ipaddress.IPv6Address("2001:db8::"))
    ipv6 = ipaddress.IPv6Address(low | secrets.randbits(96))
    return {4: f"203.0.113.{1 + secrets.randbelow(254)}", 6: str(ipv6)}


def _own_address(to: str) -> str | None:
    """The source that the kernel would choose; nothing is sent."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((to, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return None


class _Marked:
    """Tells packets of our probes from all others of a busy machine."""

    def __init__(self, place: Place) -> None:
        """By our addresses, and by what stands in our payloads and names."""
        self._addresses = {*place.blocked.values(), *place.foreign.values()}
        self._texts = (place.secret, place.blocked_name.partition(".")[0].encode())

    def __call__(self, packet: Packet) -> bool:
        """Whether it is one."""
        return packet.destination in self._addresses or any(t in packet.data for t in self._texts)
