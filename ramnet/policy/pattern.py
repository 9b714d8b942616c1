"""Host patterns: what an administrator writes, and which names it means.

===================  =====================================================
``host``             that host only
``*.x``              exactly one label in front of x
``**.x``             one or more labels in front of x, not x itself
``*`` in a label     any characters of that label, never a dot
``:port`` behind     that port only; without it every port
``domain = "x"``     x and every name below it
===================  =====================================================
"""

import re
from enum import IntEnum
from typing import Final, NamedTuple

from ramnet.policy.name import (
    LABEL,
    MAX_LABEL,
    MAX_NAME,
    MAX_TYPED,
    InvalidPatternError,
    ends_in_number,
    is_ipv6,
    normalise,
    split_host_port,
)


class Kind(IntEnum):
    """How the names that an entry matches relate to its base name."""

    EXACT = 0  #: the base itself
    ONE = 1  #: one label below the base
    BELOW = 2  #: any number of labels below the base, at least one
    DOMAIN = 3  #: the base and everything below it
    GLOB = 4  #: a wildcard inside; the base is its longest literal suffix of whole labels
    ADDRESS = 5  #: an address or address-like text, which matches nothing


class Pattern(NamedTuple):
    """A parsed pattern: ``base`` is normalised, ``port`` 0 is every port.

    ``glob`` is the whole pattern without its port for ``Kind.GLOB``, else empty.
    """

    kind: Kind
    base: str
    port: int
    glob: str

    @property
    def text(self) -> str:
        """The pattern as an administrator would write it."""
        return pattern_text(self.kind, self.base, self.port, self.glob)


_LEAD: Final = {Kind.ONE: "*.", Kind.BELOW: "**."}
_DOTS: Final = {0x3002: ".", 0xFF0E: ".", 0xFF61: "."}  # UTS 46: full stops of other scripts
_PLAIN: Final = re.compile(rf"(?:{LABEL}\.)*+(?![0-9]){LABEL}")
_GLOB_LABEL: Final = re.compile(r"[a-z0-9_*-]+")


def is_plain(text: str) -> bool:
    """Whether ``text`` is a normalised name and nothing else, as nearly every entry is."""
    return _PLAIN.fullmatch(text) is not None and len(text) <= MAX_NAME and "xn--" not in text


def parse_host(text: str) -> Pattern:
    """Read the value of ``host``.

    Raises:
        InvalidNameError: no pattern, or one that would match every name.
    """
    if is_plain(text):
        return Pattern(Kind.EXACT, text, 0, "")
    if len(text) > MAX_TYPED:
        raise InvalidPatternError(text, f"longer than {MAX_NAME} octets")
    host, port = split_host_port(text) if "://" not in text else (text, None)
    if is_ipv6(host):
        return Pattern(Kind.ADDRESS, text, 0, "")
    return _parse_name(text, host, port or 0)


def parse_domain(text: str) -> Pattern:
    """Read the value of ``domain``: a name without wildcards, a port allowed.

    Raises:
        InvalidNameError: no such name.
    """
    if "*" in text:
        raise InvalidPatternError(text, "a domain has no wildcard; write it as host")
    kind, base, port, glob = parse_host(text)
    return Pattern(Kind.DOMAIN if kind is Kind.EXACT else kind, base, port, glob)


def pattern_text(kind: int, base: str, port: int, glob: str) -> str:
    """Write a pattern out again."""
    host = glob or _LEAD.get(kind, "") + base  # type: ignore[call-overload]
    return f"{host}:{port}" if port else host


def glob_regex(glob: str) -> re.Pattern[str]:
    """Compile the pattern of ``Kind.GLOB``; match it with ``fullmatch`` on a normalised name.

    Each star but the last of a label is atomic, so that no pattern makes matching
    take more than (length of the name) x (length of the pattern) steps.
    """
    lead = ""
    if glob.startswith("**."):
        lead, glob = r"(?:[^.]+\.)+", glob[3:]
    return re.compile(lead + r"\.".join(map(_label_regex, glob.split("."))))


def _label_regex(label: str) -> str:
    if label == "*":
        return "[^.]+"
    first, *rest = map(re.escape, label.split("*"))
    if not rest:
        return first
    middle = "".join(f"(?>[^.]*?{piece})" for piece in rest[:-1])
    return f"{first}{middle}[^.]*{rest[-1]}"


def _parse_name(text: str, host: str, port: int) -> Pattern:
    """Read a pattern that was not plain: to be normalised, or with wildcards inside."""
    if "*" not in host:
        base = normalise(host)
        return Pattern(Kind.ADDRESS if ends_in_number(base) else Kind.EXACT, base, port, "")
    labels = host.translate(_DOTS).lower().removesuffix(".").split(".")
    if all(label.strip("*") == "" for label in labels):
        raise InvalidPatternError(text, "it would match every name")
    for place, label in enumerate(labels):
        _check_wildcard(text, label, first=place == 0)
    literal = next(i for i in range(len(labels) + 1) if not any("*" in x for x in labels[i:]))
    base = normalise(".".join(labels[literal:])) if literal < len(labels) else ""
    return _with_wildcards(text, labels[:literal], base, port)


def _with_wildcards(text: str, front: list[str], base: str, port: int) -> Pattern:
    """Tell ``*.x`` and ``**.x`` from the patterns that must be scanned."""
    # Literal labels between wildcards: normalised one by one.
    front = [label if "*" in label else normalise(label) for label in front]
    whole = ".".join([*front, base] if base else front)
    if len(whole) > MAX_NAME:
        raise InvalidPatternError(text, f"longer than {MAX_NAME} octets")
    if base and ends_in_number(base):
        return Pattern(Kind.ADDRESS, whole, port, "")
    if base and front == ["*"]:
        return Pattern(Kind.ONE, base, port, "")
    if front == ["**"] and base:
        return Pattern(Kind.BELOW, base, port, "")
    return Pattern(Kind.GLOB, base, port, whole)


def _check_wildcard(text: str, label: str, *, first: bool) -> None:
    if "*" not in label:
        return
    if "**" in label and (label != "**" or not first):
        raise InvalidPatternError(text, "** stands only as the first label")
    if not _GLOB_LABEL.fullmatch(label):
        raise InvalidPatternError(text, "a label with a wildcard holds a-z, 0-9, - and _ besides")
    if len(label) > MAX_LABEL:
        raise InvalidPatternError(text, f"a label is longer than {MAX_LABEL} octets")
