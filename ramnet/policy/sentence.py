"""The sentence that a refused person reads, and the one-line texts that go into it."""

import unicodedata
from typing import Final

MAX_TEXT: Final = 200
"""Characters of ``organization`` and ``contact``."""

DEFAULT_ORGANIZATION: Final = "Your organization"
DEFAULT_CONTACT: Final = "Ask your administrator to add it to the allowed registries."

# Cc control, Cf format (bidirectional overrides among them), Cs lone surrogate,
# Zl and Zp line and paragraph separator: all can break a line or lie about its order.
_FORBIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks that Unicode does not take apart itself.
_FOLDED: Final = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l",
     "Ł": "L", "đ": "d", "Đ": "D", "þ": "th", "Þ": "Th", "\u0131": "i", "\u2013": "-",
     "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
     "\u201e": '"'}
)  # fmt: skip


def text_fault(text: str) -> str | None:
    """Say why ``text`` cannot be ``organization`` or ``contact``; None where it can."""
    if not text.strip():
        return "must not be empty"
    if len(text) > MAX_TEXT:
        return f"is longer than {MAX_TEXT} characters"
    if any(unicodedata.category(c) in _FORBIDDEN for c in text):
        return "must be one line without control characters"
    return None


def one_line(text: str, limit: int) -> str:
    """Make any text fit for the sentence: one line, nothing hidden, ``limit`` characters."""
    line = "".join("?" if unicodedata.category(c) in _FORBIDDEN else c for c in text[:limit])
    return line.strip()


def fold(text: str) -> str:
    """Fold to ASCII for protocols that carry no more; what has no likeness becomes ``?``."""
    plain = unicodedata.normalize("NFKD", text.translate(_FOLDED))
    kept = "".join(c for c in plain if not unicodedata.combining(c))
    return kept.encode("ascii", "replace").decode("ascii")
