"""What a bounded reader can say of bytes: a value, or one of three other things.

They are different types, so that a caller that forgets one does not type-check.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The bytes so far are a proper beginning; ``total`` is the least length that can say more."""

    total: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """The bytes claim to be this protocol and break its rules; never to be passed on."""

    reason: str


class Absent:
    """What was looked for is not there (another protocol, or a field that is optional)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
