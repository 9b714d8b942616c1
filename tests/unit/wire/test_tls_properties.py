"""Any bytes at all, and right hellos bent in every place."""

from hypothesis import example, given
from hypothesis import strategies as st

from ramnet.wire.result import Absent, Malformed, NeedMore
from ramnet.wire.tls import MAX_HELLO, MAX_RECORDS, ClientHello, read_client_hello

from . import hello
from .contract import check_beginnings

LABEL = st.from_regex(rb"[a-z][a-z0-9-]{0,20}", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=5).map(b".".join)
EXTENSIONS = st.lists(
    st.tuples(st.sampled_from([5, 10, 13, 51, 0x4A4A]), st.binary(max_size=60)),
    unique_by=lambda extension: extension[0],
)


@given(st.binary(max_size=300))
@example(b"\x16\x03\x01\x00\x00")
def test_any_bytes_give_one_of_four(data: bytes) -> None:
    result = check_beginnings(read_client_hello, data)
    assert isinstance(result, ClientHello | NeedMore | Malformed | Absent)


@given(st.binary(max_size=300))
def test_any_bytes_in_a_handshake_record(data: bytes) -> None:
    check_beginnings(read_client_hello, hello.record(b"\1" + hello.vector(3, data)))


@given(NAME, EXTENSIONS, st.lists(st.integers(1, 80), max_size=MAX_RECORDS - 1), st.binary())
def test_a_right_hello_however_it_is_cut(
    name: bytes, extensions: list[hello.Extension], sizes: list[int], rest: bytes
) -> None:
    cut = hello.records(hello.message([*extensions, hello.server_name(name)]), sizes)
    result = check_beginnings(read_client_hello, cut + rest)
    assert isinstance(result, ClientHello)
    assert result.server_name == name.decode()
    assert result.length == len(cut)


@given(st.data(), st.binary(min_size=1, max_size=4))
def test_a_hello_bent_somewhere(data: st.DataObject, patch: bytes) -> None:
    whole = hello.records(
        hello.message([hello.server_name(b"a.example"), hello.alpn(b"h2"), hello.encrypted(0)]),
        (30, 50),
    )
    at = data.draw(st.integers(0, len(whole)))
    removed = data.draw(st.integers(0, 3))
    check_beginnings(read_client_hello, whole[:at] + patch + whole[at + removed :])


@given(st.integers(0, 2**24 - 1), st.integers(0, 2**16 - 1))
def test_need_more_is_bounded_whatever_lengths_say(message: int, fragment: int) -> None:
    header = b"\x16\x03\x01" + fragment.to_bytes(2, "big") + b"\1" + message.to_bytes(3, "big")
    result = read_client_hello(header)
    if isinstance(result, NeedMore):
        assert result.total <= MAX_HELLO + MAX_RECORDS * 5 + 4
