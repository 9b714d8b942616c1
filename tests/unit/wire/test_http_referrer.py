"""Who sent a request, and that no value of the field does harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.wire.http import RequestHead, read_referrer, read_request_head
from ramnet.wire.result import ABSENT, Absent


def referrer(*values: bytes) -> tuple[str, int | None] | Absent:
    lines = b"".join(b"Referer: " + value + b"\r\n" for value in values)
    head = read_request_head(b"GET / HTTP/1.1\r\nHost: a.example\r\n" + lines + b"\r\n")
    assert isinstance(head, RequestHead)
    return read_referrer(head)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"https://r.example/v2/app/blobs/sha256:0?x=1", ("r.example", None)),
        (b"HTTP://r.example:5000", ("r.example", 5000)),
        (b"https://[2001:db8::1]:5000/", ("2001:db8::1", 5000)),
    ],
)
def test_a_url_names_its_host(value: bytes, expected: tuple[str, int | None]) -> None:
    assert referrer(value) == expected


@pytest.mark.parametrize(
    "value", [b"", b"about:blank", b"/v2/", b"https://", b"https://u:p@r.example/", b"https://a b/"]
)
def test_anything_else_names_nobody(value: bytes) -> None:
    assert referrer(value) is ABSENT


def test_two_name_nobody() -> None:
    assert referrer(b"https://a.example/", b"https://b.example/") is ABSENT
    assert referrer() is ABSENT


@given(st.binary(max_size=200).map(lambda raw: bytes(b for b in raw if 32 <= b != 127)))
def test_any_value_is_taken(value: bytes) -> None:
    assert referrer(b"https://" + value) is not None
