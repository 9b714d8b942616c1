"""What is wrong with a document, each with its place, gathered so that all are told at once."""

from typing import Final, NamedTuple

from ramnet.errors import PolicyError
from ramnet.policy.locate import Shape, lines_of

MAX_FAULTS: Final = 100
"""Faults told of one document; reading stops there."""


class Fault(NamedTuple):
    """One fault; ``line`` counts from 1, None where it cannot be told; ``key`` may be empty."""

    line: int | None
    key: str
    reason: str


class DocumentError(PolicyError):
    """A document that was refused; the text is one line, ``faults`` has all of them."""

    def __init__(self, source: str, faults: list[Fault]) -> None:
        self.source = source
        self.faults = faults
        more = len(faults) - 1
        tail = f" (and {more} more)" if more else ""
        super().__init__(self.lines()[0] + tail)

    def lines(self) -> list[str]:
        """One line for each fault: ``source:line: key: reason``."""
        return [
            ": ".join(
                part
                for part in (
                    self.source if fault.line is None else f"{self.source}:{fault.line}",
                    fault.key,
                    fault.reason,
                )
                if part
            )
            for fault in self.faults
        ]


class Faults:
    """Gathers faults while a document is read; lines are looked up once, at the end."""

    def __init__(self, source: str, data: bytes) -> None:
        self.source = source
        self._data = data
        self._found: list[tuple[str, str]] = []

    @property
    def enough(self) -> bool:
        """Whether there are so many that reading on is of no use."""
        return len(self._found) >= MAX_FAULTS

    def add(self, key: str, reason: str) -> None:
        """Note a fault at ``key``, such as ``registry[3].host``."""
        if not self.enough:
            self._found.append((key, reason))

    def raise_if_any(self, shape: Shape) -> None:
        """Raise ``DocumentError`` with every fault noted, in the order of the document."""
        if not self._found:
            return
        lines = lines_of(self._data, shape, {key for key, _ in self._found})
        faults = [Fault(lines.get(key), key, reason) for key, reason in self._found]
        faults.sort(key=lambda fault: fault.line or 0)
        raise DocumentError(self.source, faults)

    def stop(self, shape: Shape, key: str, reason: str) -> DocumentError:
        """Return the error for a fault after which nothing more can be read."""
        line = lines_of(self._data, shape, {key}).get(key) if key else None
        return DocumentError(self.source, [Fault(line, key, reason)])

    def stop_at(self, line: int | None, reason: str) -> DocumentError:
        """Return the error for text that is not even TOML or JSON."""
        return DocumentError(self.source, [Fault(line, "", reason)])
