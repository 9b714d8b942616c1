"""Addresses that are never given or dialled, however they are dressed up."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.gate.resolver.addresses import (
    LINK_LOCAL,
    LOOPBACK,
    MULTICAST,
    OWN,
    RESERVED,
    SINKHOLE,
    UNSPECIFIED,
    AddressRules,
    pack,
    unpack,
)

RULES = AddressRules(["192.0.2.10", "2001:db8::10"], ["192.0.0.8", "100::8", None])

UNFIT4 = {
    "127.0.0.1": LOOPBACK,
    "127.255.255.254": LOOPBACK,
    "0.0.0.0": UNSPECIFIED,
    "0.1.2.3": UNSPECIFIED,
    "169.254.169.254": LINK_LOCAL,
    "224.0.0.251": MULTICAST,
    "240.0.0.1": RESERVED,
    "255.255.255.255": RESERVED,
    "192.0.2.10": OWN,
    "192.0.0.8": SINKHOLE,
}
UNFIT6 = {
    "::1": LOOPBACK,
    "::": UNSPECIFIED,
    "fe80::1": LINK_LOCAL,
    "febf::1": LINK_LOCAL,
    "ff02::1": MULTICAST,
    "2001:db8::10": OWN,
    "100::8": SINKHOLE,
}
FIT = [
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.51.100.7",
    "fd00::1",
    "2001:db8::11",
    "2001:db8:1::1",
    "fec0::1",
    "64:ff9b::c633:6407",
    "2002:c633:6407::1",
]


def dressed(address: str) -> list[bytes]:
    """An IPv4 address in every IPv6 form that leads to it."""
    four = pack(address)
    inverted = bytes(octet ^ 0xFF for octet in four)
    return [
        bytes(12) + four,
        bytes(8) + b"\xff\xff\0\0" + four,
        pack("64:ff9b::")[:12] + four,
        pack("64:ff9b:1::")[:12] + four,
        pack("64:ff9b:1::")[:6] + four[:2] + b"\0" + four[2:] + bytes(5),
        b"\x20\x02" + four + bytes(9) + b"\1",
        pack("2001::")[:4] + four + bytes(8),
        pack("2001::c633:6401:0:0:0:0")[:12] + inverted,
    ]


@pytest.mark.parametrize(("address", "reason"), [*UNFIT4.items(), *UNFIT6.items()])
def test_unfit(address: str, reason: str) -> None:
    assert RULES.unfit(pack(address), local=False) == reason


@pytest.mark.parametrize("address", FIT)
def test_fit(address: str) -> None:
    assert RULES.unfit(pack(address), local=False) is None


@pytest.mark.parametrize("address", UNFIT4)
def test_unfit_in_every_dress(address: str) -> None:
    for packed in dressed(address):
        assert RULES.unfit(packed, local=False), unpack(packed)


def test_a_mapped_address_is_the_address() -> None:
    assert pack("::ffff:127.0.0.1") == pack("127.0.0.1")
    assert RULES.unfit(bytes(10) + b"\xff\xff" + pack("127.0.0.1"), local=False) == LOOPBACK


@pytest.mark.parametrize("address", [*UNFIT4, *UNFIT6])
def test_local_opens_this_machine_and_no_more(address: str) -> None:
    reason = RULES.unfit(pack(address), local=True)
    if {**UNFIT4, **UNFIT6}[address] in (LOOPBACK, LINK_LOCAL, OWN):
        assert reason is None
    else:
        assert reason


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_near_is_fit(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    near = (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.version == 4 and address.is_reserved)
    )
    if near:
        assert RULES.unfit(address.packed, local=False)
    assert pack(unpack(address.packed)) == pack(str(address))


def test_global_ipv6_is_more_than_link_local() -> None:
    assert RULES.has_global_ipv6
    assert not AddressRules(["10.0.0.1", "::1", "fe80::1%eth0"]).has_global_ipv6
