"""A cursor over bytes that cannot leave them.

Every read is checked against the end, and a length-prefixed part is read through a cursor of
its own, so that an inner length can never reach past the outer one. What breaks the rules is
raised as :class:`BrokenError` and stays inside this room: each public reader turns it into
:class:`~ramnet.wire.result.Malformed`.
"""


class BrokenError(Exception):
    """The bytes break the rules of their protocol; the text says which rule."""


class Reader:
    """Reads ``data`` from its beginning to its end, whole integers and vectors at a time."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether anything is left to read."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; :class:`BrokenError` if there are fewer."""
        end = self._at + size
        if end > len(self._data):
            raise BrokenError("a length reaches past the end of what holds it")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def uint(self, size: int) -> int:
        """The next ``size`` bytes as an unsigned integer in network order."""
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_size: int) -> bytes:
        """A part that says its own length in ``length_size`` bytes (RFC 8446 3.4)."""
        start = self._at + length_size
        if start > len(self._data):
            return self.take(length_size)  # which says what is wrong
        self._at, size = start, int.from_bytes(self._data[self._at : start], "big")
        return self.take(size)

    def finish(self) -> None:
        """:class:`BrokenError` unless everything was read."""
        if self:
            raise BrokenError("bytes are left over after the last field")
