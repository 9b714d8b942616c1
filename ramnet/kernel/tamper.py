"""Says in words what another hand did to our table."""

import difflib
from typing import Final

_MOST: Final = 3
"""Lines that are quoted; of the others, the number."""


def difference(expected: str | None, found: str | None) -> str:
    """Both are listings without what sets hold; empty where they are the same."""
    if found is None:
        return "our table was removed"
    if found == expected:
        return ""
    lines = list(difflib.ndiff(_lines(expected or ""), _lines(found)))
    gone = [line[2:] for line in lines if line.startswith("- ")]
    new = [line[2:] for line in lines if line.startswith("+ ")]
    said = [_said("added", new), _said("removed", gone)]
    return "; ".join(filter(None, said)) or "the order of our rules was changed"


def _lines(listing: str) -> list[str]:
    return [line.strip() for line in listing.splitlines() if line.strip() not in ("", "}")]


def _said(what: str, lines: list[str]) -> str:
    if not lines:
        return ""
    quoted = ", ".join(f"`{line}`" for line in lines[:_MOST])
    more = f" and {len(lines) - _MOST} more" if len(lines) > _MOST else ""
    return f"{what} {quoted}{more}"
