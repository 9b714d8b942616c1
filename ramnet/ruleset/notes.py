"""What has to be remembered for ``down``, kept where it cannot be lost: in the table itself.

A sysctl's value before ours stands in the name of an empty chain, so that whoever takes our
table's place (another run, ``hold``) can read it there and write it into its own.
"""

from collections.abc import Iterable, Iterator
from typing import Final

Sysctls = tuple[tuple[str, int], ...]

SYSCTLS: Final = (
    "net.ipv4.tcp_fwmark_accept",
    "net.ipv4.fwmark_reflect",
    "net.ipv6.fwmark_reflect",
)
"""Those that tier anyip sets to 1."""


def noted(sysctls: Iterable[tuple[str, int]]) -> Iterator[str]:
    """The chains that say it, as lines of a table."""
    for key, value in sysctls:
        yield f"chain {_chain(key)}_{value} {{"
        yield "}"


def sysctls_before(listing: str) -> Sysctls:
    """What the sysctls were before ours, by the listing of a table of ours."""
    found = []
    for key in SYSCTLS:
        head = f"chain {_chain(key)}_"
        for line in map(str.strip, listing.splitlines()):
            value = line.removeprefix(head).removesuffix(" {")
            if line.startswith(head) and value.isdigit():
                found.append((key, int(value)))
    return tuple(found)


def _chain(key: str) -> str:
    return f"before_{key.replace('.', '_')}"
