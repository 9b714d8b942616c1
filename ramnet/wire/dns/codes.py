"""The numbers of DNS that this program knows by name (IANA, DNS Parameters)."""

from enum import IntEnum
from typing import Final


class QTYPE(IntEnum):
    """Record and question types."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    SVCB = 64
    HTTPS = 65
    TKEY = 249
    TSIG = 250
    IXFR = 251
    AXFR = 252
    MAILB = 253
    MAILA = 254
    ANY = 255


class RCODE(IntEnum):
    """Response codes; those above 15 need EDNS."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


CLASS_IN: Final = 1

QR: Final = 0x8000
"""This is a response."""
OPCODE: Final = 0x7800
TC: Final = 0x0200
"""The answer did not fit and is to be fetched over TCP."""
RD: Final = 0x0100
RA: Final = 0x0080
CD: Final = 0x0010

EDE_OTHER: Final = 0
EDE_BLOCKED: Final = 15
"""Refused by the policy of whoever runs the resolver (RFC 8914 section 4.16)."""
EDE_NOT_READY: Final = 14
EDE_NOT_SUPPORTED: Final = 21
EDE_NO_REACHABLE_AUTHORITY: Final = 22
EDE_NETWORK_ERROR: Final = 23


def type_text(qtype: int) -> str:
    """``AAAA``, or ``TYPE4711`` for a number without a name here (RFC 3597 section 5)."""
    return QTYPE(qtype).name if qtype in QTYPE._value2member_map_ else f"TYPE{qtype}"


def rcode_text(rcode: int) -> str:
    """``NXDOMAIN``, or ``RCODE11`` for a number without a name here."""
    return RCODE(rcode).name if rcode in RCODE._value2member_map_ else f"RCODE{rcode}"
