"""How long and how often: the standard run, and a short one to see that everything works."""

from __future__ import annotations

from typing import NamedTuple


class Settings(NamedTuple):
    """Sizes of one run. Figures of different settings are not comparable."""

    rounds: int = 5
    bulk_bytes: int = 1 << 30
    image_bytes: int = 1 << 30
    layers: int = 20
    seconds: int = 2
    """Of each load at saturation."""
    probes: int = 500
    """Connections one after the other, for latency."""
    idle_connections: int = 5000
    policy_sizes: tuple[int, ...] = (10, 1_000, 100_000, 1_000_000)
    reloads: int = 5


QUICK = Settings(
    rounds=1,
    bulk_bytes=1 << 28,
    image_bytes=1 << 27,
    seconds=1,
    probes=200,
    idle_connections=500,
    policy_sizes=(10, 1_000, 100_000),
    reloads=1,
)
