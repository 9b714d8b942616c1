"""The blob: stable, flat, checked, quick to open, and never trusted."""

import mmap
import random
import sys
import tempfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ramnet.errors import PolicyError
from ramnet.policy import Outcome, Policy
from ramnet.policy.layout import FORMAT, HEADER
from ramnet.policy.reader import Reader
from tests.unit.policy import strategies
from tests.unit.policy.build import blob_of, hosts
from tests.unit.policy.reference import Line

LINES = [
    Line("a.example"),
    Line("corp.example", domain=True, port=5000, local=True),
    Line("*.one.example"),
    Line("**.deep.example", allowed=False),
    Line("a-*.s3.*.example"),
    Line("b-*.s3.*.example", allowed=False),
]
NAMES = ["a.example", "x.corp.example", "x.one.example", "x.y.deep.example", "a-1.s3.eu.example",
         "b-1.s3.eu.example", "docker.io", "evil.test"]  # fmt: skip
BLOB = blob_of(LINES, docker_hub=True)


class CountedSlots:
    """A hash table that counts how often it is looked into."""

    def __init__(self, slots: memoryview) -> None:
        self.slots = slots
        self.looks = 0

    def __getitem__(self, index: int) -> int:
        self.looks += 1
        return int(self.slots[index])


def test_the_same_document_makes_the_same_blob() -> None:
    assert blob_of(LINES, docker_hub=True) == BLOB


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_flat_buffer_serves(kind: type) -> None:
    assert Policy(kind(BLOB)).decide("a.example").allowed


def test_a_mapped_file_serves_and_can_be_unmapped_afterwards() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(BLOB)
        file.flush()
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            policy = Policy(mapped)
            policy.verify()
            assert policy.decide("x.y.deep.example").outcome is Outcome.DENIED
            del policy


def test_looks_into_the_table_do_not_grow_with_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"host{n}.team{n % 50}.corp.example" for n in range(20_000)]
    names += [f"{random.Random(n).randrange(10**9)}.example" for n in range(20_000)]
    asked = [*names[:500], *names[-500:], *(f"evil{n}.a.b.example" for n in range(1000))]

    def looks(count: int) -> float:
        reader = Policy(blob_of([Line(name) for name in names[-count:]]))._reader
        slots = CountedSlots(reader._slots)
        monkeypatch.setattr(reader, "_slots", slots)
        for name in asked:
            reader.candidates(name)
        return slots.looks / len(asked)

    assert looks(40_000) < 2 * looks(10) + 1


@pytest.mark.parametrize(
    "names",
    [
        [f"h{n}.example" for n in range(30_000)],
        [f"h{n:08}.example" for n in range(30_000)],
        [f"{n:x}.registry.example" for n in range(30_000)],
        [f"{n}.dkr.ecr.eu-west-1.amazonaws.com" for n in range(10**11, 10**11 + 30_000)],
        [f"a{n}.b{n}.c{n}.example" for n in range(30_000)],
    ],
    ids=["decimal", "padded", "hex", "accounts", "several"],
)
def test_names_that_differ_in_a_digit_spread_over_the_table(names: list[str]) -> None:
    assert Reader(blob_of([Line(name) for name in names]))._probes <= 64


def test_wildcard_patterns_are_scanned_only_under_their_own_suffix() -> None:
    reader = Policy(blob_of([Line(f"x-*.corp{n}.example") for n in range(1000)]))._reader
    scanned = [r for offset, _ in reader.candidates("x-1.corp7.example") for r in
               reader.records(offset)]  # fmt: skip
    assert [record.glob for record in scanned] == ["x-*.corp7.example"]


@pytest.mark.parametrize(
    "blob",
    [b"", b"x", b"ramnetPB", bytes(HEADER.size), BLOB[:-1], BLOB + b"\0", BLOB[: HEADER.size],
     BLOB[8:], b"version = 7\n" * 100],
)  # fmt: skip
def test_what_is_no_whole_blob_is_refused(blob: bytes) -> None:
    with pytest.raises(PolicyError):
        Policy(blob)


def test_a_blob_of_another_format_or_byte_order_is_refused() -> None:
    other = bytearray(BLOB)
    other[8:10] = (FORMAT + 1).to_bytes(2, "little")
    with pytest.raises(PolicyError, match="another format"):
        Policy(other)
    other = bytearray(BLOB)
    other[10:12] = other[11], other[10]
    with pytest.raises(PolicyError, match="another format"):
        Policy(other)


def test_every_damaged_byte_of_the_head_is_noticed_on_opening() -> None:
    head = HEADER.unpack_from(BLOB)[10]
    for place in range(head):
        damaged = bytearray(BLOB)
        damaged[place] ^= 0x10
        with pytest.raises(PolicyError):
            Policy(damaged)


def _use(blob: bytearray) -> None:
    """Ask everything; PolicyError is the only error that may come."""
    policy = Policy(blob)
    for name in NAMES:
        for port in (None, 443, 5000):
            try:
                verdict = policy.decide(name, port)
            except PolicyError:
                continue
            assert isinstance(verdict.outcome, Outcome)


def test_every_damaged_byte_behind_the_head_is_survived_and_found_by_verify() -> None:
    head = HEADER.unpack_from(BLOB)[10]
    for place in range(head, len(BLOB)):
        for bits in (0x01, 0x80, 0xFF):
            damaged = bytearray(BLOB)
            damaged[place] ^= bits
            _use(damaged)
            with pytest.raises(PolicyError, match="damaged"):
                Policy(damaged).verify()


@strategies.examples(150)
@example([], [(0, 0xFF)] * 3)
@given(
    st.lists(strategies.lines(), max_size=6),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=60),
)
def test_much_damage_is_survived(lines: list[Line], damage: list[tuple[int, int]]) -> None:
    blob = bytearray(blob_of(lines, docker_hub=True))
    head = HEADER.unpack_from(blob)[10]
    for place, value in damage:
        blob[head + place % (len(blob) - head)] = value
    _use(blob)


def test_a_table_without_a_free_slot_ends_the_search() -> None:
    blob = bytearray(BLOB)
    head, slots = HEADER.unpack_from(blob)[10], HEADER.unpack_from(blob)[9]
    blob[head : head + 8 * slots] = b"\xff" * (8 * slots)
    assert Policy(blob).decide("a.example").outcome is Outcome.UNLISTED


def test_entries_with_one_hash_are_told_apart() -> None:
    """CRC-32 of both names is the same, so only the comparison of the text tells them apart."""
    from zlib import crc32

    seen: dict[int, str] = {}
    pair = None
    for n in range(400_000):
        name = f"h{n * 7919 % 999983}x{n}.example"
        other = seen.setdefault(crc32(name.encode()), name)
        if other != name:
            pair = (other, name)
            break
    assert pair is not None
    assert hosts(pair[0]).decide(pair[0]).allowed
    assert not hosts(pair[0]).decide(pair[1]).allowed
    assert hosts(*pair).decide(pair[1]).entry == pair[1]


def test_a_chain_that_leads_back_to_itself_ends() -> None:
    reader = Policy(BLOB)._reader
    [(offset, _)] = reader.candidates("a.example")[:1]
    heap = len(BLOB) - len(reader._heap)
    for following in (offset, offset + 1, len(reader._heap), 0xFFFF_FFFF):
        blob = bytearray(BLOB)
        blob[heap + offset : heap + offset + 4] = following.to_bytes(4, sys.byteorder)
        with pytest.raises(PolicyError, match="damaged"):
            Policy(blob).decide("a.example")
