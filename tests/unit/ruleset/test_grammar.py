"""The grammar reads what we write and what the kernel lists, and nothing else."""

from pathlib import Path

import pytest

from ramnet.ruleset import Ports, Situation, render_table
from ramnet.ruleset.grammar import GrammarError, parse_table
from ramnet.ruleset.trace import Packet, trace
from tests.kernel.golden import ALL, Golden


def _with(line: str, chain: str = "output") -> str:
    text = render_table(Situation(ports=Ports(927, 928)))
    head, _, rest = text.partition(f"\tchain {chain} {{\n")
    hook, _, rules = rest.partition("\n")
    return f"{head}\tchain {chain} {{\n{hook}\n\t\t{line}\n{rules}"


@pytest.mark.parametrize(
    "line",
    [
        "ip ttl 1 accept",
        "tcp dport 443 queue",
        "tcp dport 443 dnat ip to 192.0.2.1",
        "tcp option maxseg size set 1200",
        "meta mark set ct mark",
        "ct state vmap { new : accept }",
        "jump refuse",
        "goto nowhere",
        "tcp dport @nothing accept",
        "limit rate 1/second accept",
        "log",
        "tcp flags syn,ack accept",
        "reject with icmp port-unreachable",
        "tcp dport",
        "return",
        "acceptable",
    ],
)
def test_anything_else_raises(line: str) -> None:
    with pytest.raises(GrammarError):
        parse_table(_with(line))


@pytest.mark.parametrize(
    "text", ["", "table ip ramnet {\n}", "table inet ramnet {\n\tmap m {\n\t}\n}", "flush ruleset"]
)
def test_anything_but_one_table_raises(text: str) -> None:
    with pytest.raises(GrammarError):
        parse_table(text)


def test_elements_as_the_kernel_lists_many() -> None:
    listed = """table inet t {
\tset others4 {
\t\ttype ipv4_addr
\t\tflags timeout
\t\telements = { 172.17.0.2 timeout 10s, 172.17.0.3 timeout 9s500ms expires 7s12ms,
\t\t\t     172.17.0.4 timeout 10s }
\t}

\tset watched {
\t\ttype ifname
\t\telements = { "docker0",
\t\t\t     "br-0123456789ab" }
\t}
}"""
    sets = parse_table(listed).sets
    assert set(map(str, sets["others4"])) == {f"172.17.0.{n}/32" for n in (2, 3, 4)}
    assert sets["watched"] == {"docker0", "br-0123456789ab"}


def test_an_unknown_protocol_raises() -> None:
    with pytest.raises(GrammarError):
        trace(_with("meta l4proto nonsense accept"), Packet("203.0.113.7"))


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        ("tcp flags & (fin | syn | rst | ack) != syn drop",
         "tcp flags != syn / fin,syn,rst,ack drop"),
        ("tcp flags & syn == 0 drop", "tcp flags ! syn drop"),
        ("tcp flags & (syn | ack) == (syn | ack) drop", "tcp flags syn,ack / syn,ack drop"),
        ("tcp flags & (syn | ack) == (syn | ack) drop",
         "tcp flags & (syn | ack) == syn | ack drop"),
        ("reject with icmpx type port-unreachable", "reject"),
        ("reject with icmpx type admin-prohibited", "reject with icmpx admin-prohibited"),
        ("counter drop", "counter packets 7 bytes 420 drop"),
        ("meta l4proto igmp drop", "meta l4proto 2 drop"),
        ("ct mark 0x0 drop", "ct mark 0x00000000 drop"),
        ("udp dport { 443, 853 } drop", "udp dport { 853, 443 } drop"),
        ('oifname "lo" drop', "oifname lo drop"),
    ],
)  # fmt: skip
def test_two_spellings_are_one_rule(written: str, listed: str) -> None:
    assert parse_table(_with(written)) == parse_table(_with(listed))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp dport 443 drop", "tcp dport 444 drop"),
        ("tcp dport 443 drop", "tcp dport != 443 drop"),
        ("tcp dport 443 drop", "tcp sport 443 drop"),
        ("tcp dport 443 drop", "udp dport 443 drop"),
        ("tcp dport 443 drop", "tcp dport 443 accept"),
        ("tcp flags & syn == 0 drop", "tcp flags & syn != 0 drop"),
        ("ip daddr 10.0.0.0/8 drop", "ip daddr 10.0.0.0/9 drop"),
    ],
)
def test_two_meanings_are_two_rules(one: str, other: str) -> None:
    assert parse_table(_with(one)) != parse_table(_with(other))


@pytest.mark.parametrize(("path", "golden"), ALL.items(), ids=[path.stem for path in ALL])
def test_the_golden_listing_means_what_is_rendered(path: Path, golden: Golden) -> None:
    """It is a real kernel's listing; tests/kernel/test_golden.py compares it with this kernel's.

    After a wanted change, as root: ``python -m tests.kernel.golden`` writes it anew.
    """
    assert parse_table(path.read_text()) == parse_table(golden.text)


def test_tier_anyip_is_read_and_not_traced() -> None:
    golden = next(found for path, found in ALL.items() if path.stem == "anyip")
    with pytest.raises(GrammarError, match="tier anyip"):
        trace(golden.text, Packet("192.0.2.1"))
