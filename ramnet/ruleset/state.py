"""What a network namespace is to hold in all: rules, routes, routing rules, sysctls, listeners."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Family = Literal[4, 6]


@dataclass(frozen=True, slots=True)
class Route:
    """A default route in a table of our own; without a device it says "unreachable"."""

    family: Family
    table: int
    device: str | None
    metric: int

    def __str__(self) -> str:
        """As ip-route(8) takes it."""
        way = f"default dev {self.device}" if self.device else "unreachable default"
        return f"ip -{self.family} route add {way} table {self.table} metric {self.metric}"


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """Packets that carry a mark are routed by a table.

    ``first``: those that are sent here, and before the table of local addresses is asked.
    """

    family: Family
    mark: int
    table: int
    priority: int
    first: bool = False

    def __str__(self) -> str:
        """As ip-rule(8) takes it."""
        return (
            f"ip -{self.family} rule add {'iif lo ' if self.first else ''}fwmark {self.mark:#x} "
            f"lookup {self.table} priority {self.priority}"
            f"{' (before the table of local addresses)' if self.first else ''}"
        )


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket of the gate, in the gate's own network namespace, for any address."""

    role: str
    family: Family
    kind: Literal["tcp", "udp"]
    port: int

    def __str__(self) -> str:
        """For people."""
        address = "0.0.0.0" if self.family == 4 else "[::]"
        return f"{self.kind} {address}:{self.port} ({self.role}), in the gate's own namespace"


@dataclass(frozen=True, slots=True)
class KernelState:
    """The whole desired state of one namespace, for either tier.

    Attributes:
        tables: family and name of every table that ``text`` makes.
        text: for libnftables, replacing those tables in one transaction.
        device: our end of the link to the gate's own namespace, where there is one.
    """

    tables: tuple[tuple[str, str], ...]
    text: str
    routes: tuple[Route, ...] = ()
    rules: tuple[PolicyRule, ...] = ()
    sysctls: tuple[tuple[str, int], ...] = ()
    listeners: tuple[Listener, ...] = ()
    device: str | None = None

    def render(self) -> str:
        """Everything as text: the rules, and the rest as comments in the words of ip(8)."""
        rest = "".join(f"# {line}\n" for line in self._rest())
        return self.text + rest

    def _rest(self) -> Iterator[str]:
        if self.device:
            yield f"link {self.device}: veth to the gate's own network namespace"
        yield from map(str, self.routes)
        yield from map(str, self.rules)
        yield from (f"sysctl {key}={value}" for key, value in self.sysctls)
        yield from map(str, self.listeners)
