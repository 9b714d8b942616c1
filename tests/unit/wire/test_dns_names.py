"""Names between wire and text."""

import dns.name
import pytest
from hypothesis import given

from ramnet.wire.dns import display, from_text, parent_names, to_text

from .dns_messages import HOSTS, NAMES


@given(HOSTS)
def test_a_host_name_goes_there_and_back(name: dns.name.Name) -> None:
    wire = name.to_digestable()
    text = to_text(wire)
    assert text == name.to_text(omit_final_dot=True).lower()
    assert from_text(text or "") == wire


@given(NAMES)
def test_a_name_has_a_text_only_if_no_other_name_has_it(name: dns.name.Name) -> None:
    wire = name.to_wire()
    assert wire
    text = to_text(wire)
    if text is not None:
        assert from_text(text) == wire.lower()
    assert display(wire).isascii()
    assert display(wire).isprintable()


def test_names_that_could_be_taken_for_another() -> None:
    assert to_text(b"\0") is None
    assert to_text(b"\x07ghcr.io\0") is None
    assert to_text(b"\x05ghcr\0\x02io\0") is None
    assert to_text(b"\x01\\\x02io\0") is None
    assert to_text(b"\x05ghcr \x02io\0") is None
    assert display(b"\x07ghcr.io\0") == "ghcr\\046io"


@pytest.mark.parametrize("text", ["", ".", "a..b", ".a", "a" * 64, "ä.example", "a." * 128])
def test_texts_without_a_wire_form(text: str) -> None:
    with pytest.raises(ValueError):
        from_text(text)


def test_every_name_above() -> None:
    wire = from_text("a.b.c")
    assert list(parent_names(wire)) == [wire, from_text("b.c"), from_text("c"), b"\0"]
