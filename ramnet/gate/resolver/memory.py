"""Which addresses were given for which names, and until when.

The proxy asks it about connections that carry no name. An address outlives the time to live
of its record by a grace, since clients connect a little after they resolved.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

GRACE: Final = 60.0
"""Seconds (as in cilium, which had none at first and cut honest flows)."""
ADDRESS_LIMIT: Final = 65536
NAMES_PER_ADDRESS: Final = 256
"""A CDN's address stands for many names; the latest are kept."""


class GivenAddresses:
    """Bounded; the address that was given longest ago is forgotten first."""

    def __init__(self, address_limit: int = ADDRESS_LIMIT) -> None:
        self._limit = address_limit
        self._names: OrderedDict[bytes, dict[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._names)

    def remember(self, name: str, addresses: Iterable[bytes], until: float) -> None:
        """``addresses`` were given for ``name``; true until ``until`` (seconds, monotonic)."""
        for address in addresses:
            names = self._names.setdefault(address, {})
            self._names.move_to_end(address)
            names[name] = max(names.pop(name, 0.0), until + GRACE)
            if len(names) > NAMES_PER_ADDRESS:
                del names[next(iter(names))]
        while len(self._names) > self._limit:
            self._names.popitem(last=False)

    def names(self, address: bytes, now: float) -> list[str]:
        """The names for which ``address`` was given and still holds."""
        names = self._names.get(address)
        if names is None:
            return []
        for name in [name for name, until in names.items() if until <= now]:
            del names[name]
        if not names:
            del self._names[address]
        return list(names)

    def forget(self, addresses: Iterable[bytes]) -> None:
        """These lead elsewhere now: they have become this machine's own."""
        for address in addresses:
            self._names.pop(address, None)
