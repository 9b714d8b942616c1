"""Reads the text of our table: the part of nft(8)'s language that ``render_table`` writes.

The kernel's own listing of the table (nftables 1.0.6 to 1.1) is read as well: it spells some
things differently, and both spellings give equal values. Anything else raises, so that no new
expression is ever passed over in silence.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeGuard

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Item = int | str | tuple[int, int] | Network
"""A number, a word, a range of numbers or a network."""


class GrammarError(ValueError):
    """The text holds something that ``render_table`` does not write."""


@dataclass(frozen=True, slots=True)
class SetName:
    """Stands for what a named set of the table holds."""

    name: str


Operand = SetName | frozenset[Item]


@dataclass(frozen=True, slots=True)
class Match:
    """A condition: the value of ``selector`` is (or, negated, is not) among ``operand``."""

    selector: str
    operand: Operand
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Flags:
    """A condition: of the TCP flags in ``mask``, exactly ``value`` are (or are not) set."""

    mask: frozenset[str]
    value: frozenset[str]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """Something done to the packet: ``counter``, ``mark``, ``learn``, or a verdict."""

    kind: str
    argument: int | str | None = None


Part = Match | Flags | Statement
_Reader = Callable[[re.Match[str]], Part]


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a chain; equal where the meaning is equal, however it is spelled."""

    parts: tuple[Part, ...]
    text: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain has a hook; the others are reached by ``goto``."""

    rules: tuple[Rule, ...]
    kind: str | None = None
    hook: str | None = None
    priority: int = 0
    policy: str = "accept"


@dataclass(frozen=True, slots=True)
class Table:
    """What the text says: sets by name, chains by name, and the table's own flags."""

    sets: dict[str, frozenset[Item]]
    chains: dict[str, Chain]
    flags: frozenset[str] = frozenset()


def parse_table(text: str) -> Table:
    """Read a table as ``render_table`` wrote it or as the kernel lists it.

    Raises:
        GrammarError: names the first line that is not of this grammar.
    """
    sets: dict[str, frozenset[Item]] = {}
    chains: dict[str, Chain] = {}
    flags: frozenset[str] = frozenset()
    for head, body in _blocks(text):
        words = head.split()
        if words[:1] == ["flags"]:
            flags = frozenset(body)
            continue
        if words[:1] == ["set"] and len(words) == 2:
            sets[words[1]] = _parse_set(body)
        elif words[:1] == ["chain"] and len(words) == 2:
            chains[words[1]] = parse_chain(body)
        else:
            raise GrammarError(f"neither set nor chain: {head}")
    _check_names(sets, chains)
    return Table(sets, chains, flags)


def port_sets(text: str, one: str, other: str) -> tuple[frozenset[int], frozenset[int]] | None:
    """The ports that two sets of a listed table hold; None where it is not of this grammar."""
    try:
        sets = parse_table(text).sets
        found = [frozenset(p for p in sets[name] if isinstance(p, int)) for name in (one, other)]
    except (GrammarError, KeyError):
        return None
    return found[0], found[1]


def _check_names(sets: Mapping[str, object], chains: Mapping[str, Chain]) -> None:
    for rule in (rule for chain in chains.values() for rule in chain.rules):
        for part in rule.parts:
            if isinstance(part, Match) and isinstance(part.operand, SetName):
                known = part.operand.name in sets
            else:
                known = part.argument in chains if _is_goto(part) else True
            if not known:
                raise GrammarError(f"names what the table has not: {rule.text}")


def _is_goto(part: Part) -> TypeGuard[Statement]:
    return isinstance(part, Statement) and part.kind == "goto"


_BEFORE: Final = re.compile(
    r"(?:(?:delete |destroy )?table inet \w+\n)*table inet \w+ \{(?: # progname [^\n]*)?\n"
    r"(.*)\n?\}\s*",
    re.S,
)
_TABLE_FLAGS: Final = re.compile(r"flags\b([\w, ]*);?")


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    inner = _BEFORE.fullmatch(text.strip() + "\n")
    if inner is None:
        raise GrammarError("not one table of family inet")
    lines = [line.strip() for line in inner[1].splitlines() if line.strip()]
    while lines:
        line = lines.pop(0)
        if line.startswith("set ") and line.endswith(" }"):
            head, _, rest = line.partition("{")
            yield head, rest[: rest.rindex("}")].replace("elements", ";elements").split(";")
        elif found := _TABLE_FLAGS.fullmatch(line):
            yield "flags", found[1].replace(",", " ").split()
        elif line.endswith("{") and "}" in lines:
            end = lines.index("}")
            yield line[:-1], lines[:end]
            del lines[: end + 1]
        else:
            raise GrammarError(f"not understood: {line}")


_SET_SETTING: Final = re.compile(r"type \w+|size \d+|flags (?:interval|timeout|dynamic,timeout)")
_TIMEOUT: Final = re.compile(r" timeout \w+(?: expires \w+)?")


def _parse_set(lines: Sequence[str]) -> frozenset[Item]:
    items: frozenset[Item] = frozenset()
    for line in filter(None, map(str.strip, _joined(lines))):
        if line.startswith("elements = {"):
            items = _items(_TIMEOUT.sub("", line.removeprefix("elements = ")))
        elif not _SET_SETTING.fullmatch(line):
            raise GrammarError(f"not understood in a set: {line}")
    return items


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """The kernel's listing has few elements on one line, and goes on in the next ones."""
    begun = ""
    for line in lines:
        begun += line
        if begun.count("{") == begun.count("}"):
            yield begun
            begun = ""
    if begun:
        yield begun


_HOOK: Final = re.compile(
    r"type (filter|nat|route) hook (output|input|forward|prerouting|postrouting) "
    r"priority ([\w -]+); policy (accept|drop);"
)
_PRIORITIES: Final = {
    "filter": 0,
    "dstnat - 1": -101,
    "srcnat - 1": 99,
    "mangle": -150,
    "raw": -300,
}


def parse_chain(lines: Sequence[str]) -> Chain:
    """Read a chain's lines, its hook first where it has one. Raises GrammarError."""
    head = _HOOK.fullmatch(lines[0]) if lines else None
    rules = tuple(parse_rule(line) for line in (lines if head is None else lines[1:]))
    if head is None:
        return Chain(rules)
    kind, hook, priority, policy = head.groups()
    number = _PRIORITIES.get(priority)
    return Chain(rules, kind, hook, int(priority) if number is None else number, policy)


def parse_rule(line: str) -> Rule:
    """Read one rule. Raises GrammarError."""
    parts: list[Part] = []
    rest = line
    while rest:
        for pattern, read in _READERS:
            if found := pattern.match(rest):
                parts.append(read(found))
                rest = rest[found.end() :].lstrip()
                break
        else:
            raise GrammarError(f"not understood from {rest!r} on: {line}")
    return Rule(tuple(parts), line)


def _match(found: re.Match[str]) -> Part:
    selector, negation, operand = found.groups()
    selector, value = selector.replace('"', ""), _operand(operand)
    return Match(selector, value, negation is not None)


def _operand(text: str) -> Operand:
    if text.startswith("@"):
        return SetName(text[1:])
    return _items(text) if text.startswith("{") else frozenset({_item(text)})


def _items(text: str) -> frozenset[Item]:
    return frozenset(_item(item.strip()) for item in text.strip("{} ").split(","))


_NAMES: Final = {"igmp": 2}
_RANGE: Final = re.compile(r"(\d+)-(\d+)")
_NUMBER: Final = re.compile(r"\d+|0x[0-9a-f]+")


def _item(text: str) -> Item:
    if text in _NAMES:
        return _NAMES[text]
    if found := _RANGE.fullmatch(text):
        return int(found[1]), int(found[2])
    if _NUMBER.fullmatch(text):
        return int(text, 0)
    if re.fullmatch(r"[0-9a-f:.]+(/\d+)?", text):
        return ipaddress.ip_network(text)
    return text.strip('"')


def _flags(found: re.Match[str]) -> Part:
    mask = frozenset(re.findall(r"\w+", found["mask"]))
    value = frozenset(re.findall(r"\w+", found["value"])) - {"0"}
    return Flags(mask, value, found["sign"].strip() == "!=")


def _no_flag(found: re.Match[str]) -> Part:
    return Flags(frozenset({found[1]}), frozenset())


def _cgroup(found: re.Match[str]) -> Part:
    return Match("socket cgroupv2", frozenset({f"{found[1]} {found[2]}"}))


def _statement(kind: str, convert: Callable[[str], int | str] = str) -> _Reader:
    def read(found: re.Match[str]) -> Part:
        return Statement(kind, convert(found[1]) if found.re.groups else None)

    return read


_SELECTORS: Final = (
    "meta l4proto", "meta nfproto", "meta skuid", "meta cgroup", "meta mark(?! set)",
    "socket transparent", "ip6? [sd]addr",
    "(?:tcp|udp|sctp) (?:sport|dport)", "icmp type", "icmpv6 type",
    "oifname", "iifname", "oif", "iif", "ct state", "ct direction", "ct status", "ct mark(?! set)",
)  # fmt: skip
_VALUE: Final = r'(@\w+|\{[^{}]*\}|"[^"]*"|(?!set\b)[\w:./-]+)'
_READERS: Final[tuple[tuple[re.Pattern[str], _Reader], ...]] = tuple(
    (re.compile(pattern + r"(?!\S)"), read)
    for pattern, read in (
        (rf"({'|'.join(_SELECTORS)}) (!= )?{_VALUE}", _match),
        (
            r"tcp flags & \((?P<mask>[\w |]+)\) (?P<sign>!=|==) "
            r"(?P<value>\w+(?: \| \w+)*|\([\w |]+\))",
            _flags,
        ),
        (r"tcp flags & (?P<mask>\w+) (?P<sign>!=|==) (?P<value>\w+)", _flags),
        (r"tcp flags (?P<sign>!= |)(?P<value>[\w,]+) / (?P<mask>[\w,]+)", _flags),
        (r"tcp flags ! (\w+)", _no_flag),
        (r'socket cgroupv2 level (\d+) "([^"]+)"', _cgroup),
        (r"meta mark set (0x[0-9a-f]+)", _statement("packet mark", lambda text: int(text, 0))),
        (r"ct mark set (0x[0-9a-f]+)", _statement("mark", lambda text: int(text, 0))),
        (r"add @(\w+) \{ ct original proto-dst timeout 1d \}", _statement("learn")),
        (r"counter(?: packets \d+ bytes \d+)?", _statement("counter")),
        (r"redirect to :(\d+)", _statement("redirect", int)),
        (r"reject with tcp (reset)", _statement("reject")),
        (r"reject with icmpx(?: type)? ([\w-]+)", _statement("reject")),
        (r"reject", lambda _: Statement("reject", "port-unreachable")),
        (r"goto (\w+)", _statement("goto")),
        (r"(accept|drop)", lambda found: Statement(found[1])),
    )
)
