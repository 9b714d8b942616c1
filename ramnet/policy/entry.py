"""One entry of a policy, made from what each of the shapes says of it."""

from collections.abc import Callable
from typing import TypeVar, cast

import msgspec
from msgspec import UNSET

from ramnet.policy.fault import Faults
from ramnet.policy.name import InvalidNameError
from ramnet.policy.pattern import (
    Kind,
    Pattern,
    is_plain,
    parse_domain,
    parse_host,
    pattern_text,
)
from ramnet.policy.syntax import Custom, Registry


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One ``[[registry]]``: a pattern's fields, and what holds for the names it matches."""

    kind: Kind
    base: str
    port: int
    glob: str
    allowed: bool = True
    local: bool = False
    name: str = ""

    @classmethod
    def of(cls, pattern: Pattern) -> "Entry":
        """An allowance of ``pattern``."""
        return cls(*pattern)

    @property
    def text(self) -> str:
        """As a verdict names it, such as ``corp.example:443 (domain)``."""
        text = pattern_text(self.kind, self.base, self.port, self.glob)
        return f"{text} (domain)" if self.kind == Kind.DOMAIN else text


_T = TypeVar("_T")
_EXACT, _DOMAIN = Kind.EXACT, Kind.DOMAIN  # an enum's attribute costs 50 ns, a million times


def read_registries(registries: list[Registry], faults: Faults) -> list[Entry]:
    """Turn ``registry`` into entries in place, so that a million are not held twice."""

    def key(registry: Registry) -> str:
        return "domain" if registry.host is UNSET else "host"

    return _in_place(registries, _from_registry, "registry", key, faults)


def read_customs(customs: list[Custom], faults: Faults) -> list[Entry]:
    """Turn ``custom_registries`` into entries in place."""
    return _in_place(customs, _from_custom, "custom_registries", lambda _: "address", faults)


def _in_place(
    written: list[_T],
    read: Callable[[_T], Entry],
    array: str,
    key: Callable[[_T], str],
    faults: Faults,
) -> list[Entry]:
    entries = cast("list[Entry]", written)
    for index, one in enumerate(written):
        try:
            entries[index] = read(one)
        except InvalidNameError as error:
            faults.add(f"{array}[{index}].{key(one)}", str(error))
        except ValueError as error:
            faults.add(f"{array}[{index}]", str(error))
        if faults.enough:
            break
    return entries


def _from_registry(registry: Registry) -> Entry:
    """Read one ``[[registry]]``; a ValueError says what is wrong with it."""
    host, domain = registry.host, registry.domain
    name = registry.name or ""
    allowed, local = registry.allowed is not False, registry.local is True
    if isinstance(host, str) and domain is UNSET:
        if is_plain(host):
            return Entry(_EXACT, host, 0, "", allowed, local, name)
        return Entry(*parse_host(host), allowed, local, name)
    if isinstance(domain, str) and host is UNSET:
        if is_plain(domain):
            return Entry(_DOMAIN, domain, 0, "", allowed, local, name)
        return Entry(*parse_domain(domain), allowed, local, name)
    raise ValueError("give either host or domain")


def _from_custom(custom: Custom) -> Entry:
    """Read one custom registry; a bare name is a domain, since RAM blocks by DNS suffix."""
    address, name = custom.address, custom.friendly_name or ""
    if is_plain(address):
        return Entry(_DOMAIN, address, 0, "", custom.allowed, False, name)
    parse = parse_host if "*" in address or ":" in address else parse_domain
    return Entry(*parse(address), custom.allowed, False, name)
