"""Host names: one spelling for each, and a reason for every text that is none.

Everything is decided by name, so two spellings of one name must never differ in
verdict: case, the trailing dot, full-width letters and Unicode all become one
lower-case A-label form (RFC 5890, mapped by UTS 46, non-transitional as browsers do).
"""

import re
from typing import Final

from ramnet.errors import RamnetError

MAX_NAME: Final = 253
"""Octets of a name without its trailing dot (RFC 1035 3.1: 255 on the wire)."""

MAX_LABEL: Final = 63
"""Octets of one label (RFC 1035 2.3.4)."""

MAX_TYPED: Final = 1024
"""Characters of a text that are looked at, before a mapping that may shrink it."""

LABEL: Final = r"(?!-)[a-z0-9_-]{1,63}+(?<!-)"
_PLAIN: Final = re.compile(rf"(?:{LABEL}\.)*+{LABEL}")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class InvalidNameError(RamnetError, ValueError):
    """A text that cannot be a host name; ``name`` is the text, ``reason`` says why."""

    what = "host name"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{_shown(name)} is not a {self.what}: {reason}")
        self.name = name
        self.reason = reason


class InvalidPatternError(InvalidNameError):
    """A text that cannot be the value of ``host`` or ``domain``."""

    what = "host pattern"


def normalise(name: str) -> str:
    """Return ``name`` as lower-case A-labels without a trailing dot.

    Underscores are accepted, since names that have them exist. An IPv4 address in
    dotted form comes back unchanged: it is a text that no policy entry matches.

    Raises:
        InvalidNameError: brackets, a port, spaces, an empty or over-long label, an
            over-long name, any other character, or an A-label that is not a proper one.
    """
    text = name.lower() if name.isascii() else _mapped(name)
    if text.endswith("."):
        text = text[:-1]
    if len(text) > MAX_NAME or not _PLAIN.fullmatch(text):
        raise InvalidNameError(name, _reason(text))
    if "xn--" in text:
        _check_a_labels(name, text)
    return text


def split_host_port(text: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port`` or ``[IPv6]:port``; the host is not normalised.

    Raises:
        InvalidNameError: a port that is not 1 to 65535, or brackets around anything
            but an IPv6 address.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not is_ipv6(host) or (rest and not rest.startswith(":")):
            raise InvalidNameError(text, "brackets are for IPv6 addresses")
        return host, _port(text, rest[1:]) if rest else None
    if is_ipv6(text):
        return text, None
    host, colon, digits = text.partition(":")
    return host, _port(text, digits) if colon else None


def is_ipv6(text: str) -> bool:
    """Whether ``text`` is an IPv6 address, a zone allowed, without brackets."""
    if text.count(":") < 2:
        return False
    from ipaddress import IPv6Address

    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def ends_in_number(name: str) -> bool:
    """Whether a normalised name reads as an IPv4 address: decimal, octal, hex, 1 to 4 parts.

    The rule of the WHATWG URL standard: the last label is a number.
    """
    last = name[name.rfind(".") + 1 :]
    return last[:1].isdigit() and _NUMBER.fullmatch(last) is not None


def _port(text: str, digits: str) -> int:
    if digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536:
        return int(digits)
    raise InvalidNameError(text, "the port must be a number from 1 to 65535")


def _mapped(name: str) -> str:
    """Map by UTS 46, then turn each U-label into its A-label."""
    import idna  # 10 ms and 2 MB: only names that are not ASCII pay for it

    if len(name) > MAX_TYPED:
        raise InvalidNameError(name, f"longer than {MAX_NAME} octets")
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        labels = [x if x.isascii() else idna.alabel(x).decode() for x in mapped.split(".")]
    except UnicodeError as error:
        raise InvalidNameError(name, f"no valid internationalised name ({error})") from None
    return ".".join(labels)


def _check_a_labels(name: str, text: str) -> None:
    """Refuse an ``xn--`` label that no U-label encodes to, such as one that hides ASCII."""
    import idna

    for label in text.split("."):
        if not label.startswith("xn--"):
            continue
        try:
            proper = idna.alabel(idna.ulabel(label)).decode() == label
        except UnicodeError:
            proper = False
        if not proper:
            raise InvalidNameError(name, f"{label} is no valid internationalised label")


def _reason(text: str) -> str:
    """Say what keeps ``text`` from being a name, the most telling thing first."""
    if not text:
        return "it is empty"
    if "://" in text:
        return "give the host alone, without the scheme"
    if any(c in text for c in "[]"):
        return "brackets are for IPv6 addresses"
    if any(c.isspace() for c in text):
        return "it contains a space"
    if "/" in text:
        return "give the host alone, without a path"
    if ":" in text:
        return "a port or an address does not belong here"
    if "*" in text:
        return "a name has no wildcard"
    if len(text) > MAX_NAME:
        return f"longer than {MAX_NAME} octets"
    return next(filter(None, map(_label_reason, text.split("."))), "it is malformed")


def _label_reason(label: str) -> str | None:
    """Say what is wrong with one label, or None."""
    if not label:
        return "it has an empty label"
    if len(label) > MAX_LABEL:
        return f"a label is longer than {MAX_LABEL} octets"
    bad = re.search(r"[^a-z0-9_-]", label)
    if bad:
        return f"it contains {bad[0]!r}"
    if label[0] == "-" or label[-1] == "-":
        return "a label begins or ends with a hyphen"
    return None


def _shown(name: str) -> str:
    """Quote a text of any length and content for one line of a message."""
    shown = ascii(name[:300])
    return shown if len(name) <= 300 and len(shown) <= 300 else shown[:297] + "...'"
