"""What supervisor and exporter say to each other: typed, since part of it is gates' own words."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

_MAX_BUCKETS: Final = 64


class Latency(Struct, frozen=True):
    """A histogram, as ``ramnet.gate.histogram`` writes it."""

    bounds_s: Annotated[list[float], Meta(max_length=_MAX_BUCKETS)]
    counts: Annotated[list[int], Meta(max_length=_MAX_BUCKETS + 1)]
    sum_s: float


class ResolverStatus(Struct, frozen=True):
    """The resolver's counters; all absent until its gate has told them."""

    latency: Latency | None = None
    decisions: dict[str, int] = {}
    queries: int = 0
    cache_hits: int = 0
    malformed: int = 0
    forwarded: int = 0
    failures: int = 0
    answers: int = 0
    answer_octets: int = 0
    in_flight: int = 0


class ProxyStatus(Struct, frozen=True):
    """The proxy's counters, likewise."""

    decision_latency: Latency | None = None
    join_latency: Latency | None = None
    accepted: int = 0
    over_limit: int = 0
    allowed: int = 0
    refused: int = 0
    would_deny: int = 0
    unreachable: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    open: int = 0


class RulesStatus(Struct, frozen=True):
    """The kernel's side of a scope."""

    intact: bool
    refused_packets: dict[str, int] | None = None
    restores: int = 0


class ScopeStatus(Struct, frozen=True):
    """One scope."""

    name: str
    rules: RulesStatus
    gate_ready: bool = False
    restarts: int = 0
    events_lost: int = 0
    resolver: ResolverStatus = ResolverStatus()
    proxy: ProxyStatus = ProxyStatus()


class PolicyStatus(Struct, frozen=True):
    """The policy in force; None where there is none."""

    version: int | None
    entries: int | None
    age_s: float | None
    enforced: bool
    restricts: bool = True


class SupervisorStatus(Struct, frozen=True):
    """The service itself."""

    uptime_s: float


class Status(Struct, frozen=True):
    """What is taken of the document of ``GET /v1/status``."""

    state: str
    version: str
    supervisor: SupervisorStatus
    policy: PolicyStatus
    scopes: list[ScopeStatus]
    warnings: list[str]


class Caveat(Struct, frozen=True):
    """What is taken of ``ramnet caveats --json``."""

    severity: Literal["high", "medium", "low"]
    state: Literal["active", "covered", "absent", "unknown"]


class Snapshot(Struct, frozen=True):
    """What the supervisor tells the exporter; ``caveats`` is None until they were looked for."""

    status: Status
    caveats: list[Caveat] | None
