"""Names, addresses and marks that all tables share; kept apart from what is slow to load."""

from typing import Final

TABLE: Final = "ramnet"
"""Name of our table, family inet, one in each network namespace with a scope."""

GATE_UID: Final = 60927
"""The gate's user and group id: in the range that no distribution hands out (60578-61183)."""

SINKHOLE4: Final = "240.0.0.1"
"""Answer for refused names: class E (RFC 1112 section 4) is never routable."""

SINKHOLE6: Final = "100::1"
"""The same for IPv6, from the discard-only prefix (RFC 6666)."""

CUT_MARK: Final = 0x52414D43
"""ct mark of connections that were older than the rules ("RAMC")."""

OWN_MARK: Final = 0x52414D47
"""ct mark of connections that the gate or an exempted program opened ("RAMG")."""

LOCAL_MARK: Final = 0x52414D4C
"""ct mark of connections that this machine opened to itself ("RAML"): their answers stay here."""
