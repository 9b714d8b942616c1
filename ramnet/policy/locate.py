"""Find the line of a key in a document that has been read already.

Only a fault pays for this. A place that cannot be told gives the nearest one around it
(the entry for its key, the array for its entry), or none.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final

_DEEPEST: Final = 16
"""Nothing of a policy is as deep; every place costs as much as it is deep."""


class Shape(Enum):
    """How a document is written."""

    TOML = "toml"
    JSON = "json"
    DOCKER = "docker"


# Strings and comments are tokens of their own, so that what they hold is not read.
_TOKEN: Final = re.compile(
    r'"""(?s:(?:[^\\]|\\.)*?)"""' r"|'''(?s:.*?)'''"
    r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'" r"|\#[^\n]*|\[\[|\]\]|[\[\]{},:=\n]|[\w-]+"
)  # fmt: skip


def lines_of(data: bytes, shape: Shape, keys: set[str]) -> dict[str, int]:
    """Return the line, from 1, of each of ``keys`` (``registry[3].host``) that can be found."""
    if not keys:
        return {}
    text = data.decode("utf-8", "replace")
    wanted = keys | {around for key in keys for around in _around(key)}
    walk = _toml_places if shape is Shape.TOML else _json_places
    found: dict[str, int] = {}
    last, line = 0, 1
    for key, position in walk(text):
        if key in wanted and key not in found:
            line += text.count("\n", last, position)
            last = position
            found[key] = line
    return {
        key: next(found[k] for k in (key, *_around(key)) if k in found)
        for key in keys
        if any(k in found for k in (key, *_around(key)))
    }


def _around(key: str) -> list[str]:
    """The places around ``registry[3].host``: ``registry[3]``, ``registry``."""
    entry = key.rpartition(".")[0]
    return [around for around in (entry, key.partition("[")[0]) if around and around != key]


def _json_places(text: str) -> Iterator[tuple[str, int]]:
    """Yield each key and array element of a JSON text with its position."""
    yield from _places(text, [], ":")


def _toml_places(text: str) -> Iterator[tuple[str, int]]:
    """Yield each key, table and array element of a TOML text with its position."""
    yield from _places(text, [""], "=")


def _places(text: str, path: list[str | int], sign: str) -> Iterator[tuple[str, int]]:
    """Walk the tokens; ``path`` holds a key for each open table, an index for each array."""
    tables: dict[str, int] = {}
    table, element, line_start = "", False, True
    header: str | None = None  # the bracket that opened a TOML header
    for token in _TOKEN.finditer(text):
        mark, position = token[0], token.start()
        if mark == "\n" or mark[0] == "#":
            line_start, header = True, None
            continue
        if sign == "=" and len(path) == 1 and line_start and mark in ("[", "[["):
            header = mark
        elif header:
            if mark[0] != "]":
                count = tables[mark] = tables.get(mark, -1) + 1
                table = f"{mark}[{count}]." if header == "[[" else f"{mark}."
                yield table[:-1], position
        else:
            if element and mark[0] != "]":
                yield table + _joined(path), position
            element = _step(path, mark)
            if len(path) > _DEEPEST:
                return
            if path and isinstance(path[-1], str) and _is_key(text, token.end(), mark, sign):
                path[-1] = mark.strip("\"'")
                yield table + _joined(path), position
        line_start = False


def _step(path: list[str | int], mark: str) -> bool:
    """Move ``path`` over one token; True where an array element follows."""
    for bracket in mark if mark[0] in "[]{}" else "":
        if bracket in "[{":
            path.append(0 if bracket == "[" else "")
        elif path:
            path.pop()
    if mark == "," and path and isinstance(path[-1], int):
        path[-1] += 1
        return True
    return mark[0] == "["


def _is_key(text: str, end: int, mark: str, sign: str) -> bool:
    """Whether the token that ended at ``end`` stands before the sign of a key."""
    if mark[0] in "[]{},:=":
        return False
    return text[end : end + 40].lstrip(" \t\r\n" if sign == ":" else " \t")[:1] == sign


def _joined(path: list[str | int]) -> str:
    """Write a path as ``registry[3].host``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
