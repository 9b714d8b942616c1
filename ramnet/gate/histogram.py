"""Latencies as plain integers: what the hot path can afford. Text is made of them elsewhere."""

from bisect import bisect_left
from typing import Any, Final

BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the buckets, inclusive, in seconds; one more bucket holds what is above."""


class Histogram:
    """Counts by bucket, since the start."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        """The sum of all observations, in seconds."""

    def observe(self, seconds: float, times: int = 1) -> None:
        """``times`` observations of so many seconds each."""
        self.counts[bisect_left(BOUNDS, seconds)] += times
        self.total += seconds * times

    def document(self) -> dict[str, Any]:
        """For ``ramnet status --json``: bounds, the count of each bucket, and the sum."""
        return {"bounds_s": BOUNDS, "counts": tuple(self.counts), "sum_s": round(self.total, 6)}
