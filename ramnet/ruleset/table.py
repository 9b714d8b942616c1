"""How a table of ours takes the place of whatever has its name: in one transaction, always.

``destroy`` came with Linux 6.3, so elsewhere the table is added (nothing happens where it is),
deleted and made anew.

*Ownership.* Where kernel and library know both, our tables carry ``flags owner,persist`` (never
one alone: a table with ``owner`` and without ``persist`` dies with its process, and opens the
scope). What was measured, Linux 6.18 with nftables 1.1.3, and agrees with nf_tables_api.c:

- The owner is a netlink socket. Through any other one, of the same process too, every change of
  the table, of what is in it and of its flags ends in EPERM; ``flush ruleset`` passes it by and
  succeeds; listing it is anybody's.
- When that socket closes, be it by SIGKILL, the table stays and refuses as before, with
  ``persist`` alone. Until somebody takes it, anybody may change, flush or delete it again.
- Whoever adds such an orphan with both flags adopts it. Added without them, or a table without
  them added with them, it ends in EOPNOTSUPP, and so does taking the flags off a table of one's
  own. So neither can be made of the other; but an orphan, a table without flags and one of one's
  own can each be deleted, and a table be made in its place in the same transaction.

So an owned table begins with ``destroy``, which takes the place of any of the three and of
nothing (kernels and libraries that have ``persist`` have it), and a table without flags that
follows an orphan begins with ``delete``. nftables 1.0.6 lists an orphan with ``flags`` and no
word behind it.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ramnet.ruleset.names import TABLE

if TYPE_CHECKING:
    from ramnet.ruleset.situation import Situation

OWNED: Final = "flags owner,persist;"

_FLAGS: Final = re.compile(r"table \w+ \w+ \{[^\n]*\n\s*flags\b([^\n]*)")


def replace_table(
    situation: "Situation", body: Iterable[str], name: str = TABLE, family: str = "inet"
) -> str:
    """One transaction that makes the table hold ``body`` and nothing else."""
    table = f"table {family} {name}"
    before, owned = f"{table}\ndelete {table}", []
    if situation.capabilities.ownership:
        before, owned = f"destroy {table}", [OWNED]
    elif (family, name) in situation.flagged:
        before = f"delete {table}"
    inner = "\n".join(f"\t{line}" for line in [*owned, *body])
    return f"{before}\n{table} {{\n{inner}\n}}\n"


def has_flags(listing: str | None) -> bool:
    """Whether the listed table has flags of its own, so that it cannot be added without them."""
    return listing is not None and _FLAGS.match(listing) is not None


def is_owned(listing: str | None) -> bool:
    """Whether the listed table belongs to a socket that is open; whose it is, it does not say."""
    found = None if listing is None else _FLAGS.match(listing)
    return found is not None and "owner" in found[1]
