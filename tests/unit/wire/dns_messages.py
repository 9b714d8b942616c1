"""Strategies for DNS: names and messages as dnspython makes them, and spoilt ones."""

import dns.message
import dns.name
import dns.rrset
from dns.edns import GenericOption, Option, OptionType
from dns.rcode import Rcode
from dns.rdatatype import RdataType
from hypothesis import strategies as st

LABELS = st.binary(min_size=1, max_size=63)
HOST_LABELS = st.from_regex(r"[a-zA-Z0-9_]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?", fullmatch=True)


def _fits(labels: list[bytes]) -> bool:
    return sum(len(label) + 1 for label in labels) < 255


NAMES = st.lists(LABELS, max_size=8).filter(_fits).map(lambda ls: dns.name.Name([*ls, b""]))
"""Any name that the wire can carry."""
HOSTS = (
    st.lists(HOST_LABELS, min_size=1, max_size=6)
    .map(".".join)
    .filter(lambda text: len(text) < 250)
    .map(lambda text: dns.name.from_text(text))
)
"""Names that a host might have."""
TYPES = st.integers(1, 65535).filter(lambda number: number not in (41, 249, 250))


@st.composite
def queries(draw: st.DrawFn) -> dns.message.Message:
    """A query, with or without EDNS and options."""
    name = draw(st.one_of(NAMES, HOSTS))
    query = dns.message.make_query(
        name, RdataType.make(draw(TYPES)), id=draw(st.integers(0, 65535))
    )
    query.flags = draw(st.integers(0, 0xFFFF)) & 0x07FF
    if draw(st.booleans()):
        cookie: Option = GenericOption(OptionType.COOKIE, b"12345678")
        options = [cookie] if draw(st.booleans()) else []
        query.use_edns(draw(st.integers(0, 3)), 0, draw(st.integers(0, 65535)), options=options)
    return query


def _rrset(owner: dns.name.Name, ttl: int, rtype: str, *texts: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(owner, ttl, "IN", rtype, *texts)


@st.composite
def record_sets(draw: st.DrawFn, owners: list[dns.name.Name]) -> dns.rrset.RRset:
    """Records of a type that has names in it, or addresses, or text."""
    owner, other = draw(st.sampled_from(owners)), draw(st.sampled_from(owners))
    number = draw(st.integers(0, 65535))
    data = {
        "A": f"192.0.2.{number % 256}",
        "AAAA": f"2001:db8::{number:x}",
        "CNAME": f"{other}",
        "NS": f"{other}",
        "PTR": f"{other}",
        "DNAME": f"{other}",
        "MX": f"{number} {other}",
        "SRV": f"1 2 {number} {other}",
        "SOA": f"{other} {owner} {number} 2 3 4 5",
        "RP": f"{other} {owner}",
        "PX": f"{number} {other} {owner}",
        "TXT": f'"{number}" "more"',
        "HTTPS": f"1 . alpn=h2 port={number} ipv4hint=192.0.2.1",
        "CAA": '0 issue "ca.example"',
    }
    rtype = draw(st.sampled_from(sorted(data)))
    return _rrset(owner, draw(st.integers(0, 2**31 - 1)), rtype, data[rtype])


@st.composite
def responses(draw: st.DrawFn) -> tuple[dns.message.Message, bytes]:
    """A response, and its octets with dnspython's name compression."""
    owners = draw(st.lists(HOSTS, min_size=1, max_size=4))
    query = dns.message.make_query(owners[0], draw(st.sampled_from(["A", "MX", "SOA", "HTTPS"])))
    query.id = draw(st.integers(0, 65535))
    response = dns.message.make_response(query)
    for section in (response.answer, response.authority, response.additional):
        section.extend(draw(st.lists(record_sets(owners), max_size=4)))
    response.set_rcode(Rcode(draw(st.sampled_from([0, 2, 3, 5]))))
    return response, response.to_wire(max_size=65535)


@st.composite
def spoilt(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message with a few octets changed, taken out or put in."""
    data = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0 if at < len(data):
                data[at] = draw(st.sampled_from([0, 1, 63, 64, 0xC0, 0xC1, 0xFF]))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
            case 2:
                data[at:at] = draw(st.binary(max_size=8))
            case _:
                del data[at:]
    return bytes(data)
