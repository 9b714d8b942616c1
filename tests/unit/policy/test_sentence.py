"""The sentence that a refused person reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.errors import PolicyError
from tests.unit.policy.build import document, policy


def test_the_sentence_names_who_what_and_whom_to_ask() -> None:
    corp = policy('organization = "acme"\ncontact = "Ask it-help@acme.example."')
    assert corp.sentence("ghcr.io") == (
        "acme has disallowed access to ghcr.io. Ask it-help@acme.example. (ramnet)"
    )


def test_without_words_of_its_own_a_policy_has_a_useful_sentence() -> None:
    assert policy("version = 0").sentence("ghcr.io") == (
        "Your organization has disallowed access to ghcr.io. "
        "Ask your administrator to add it to the allowed registries. (ramnet)"
    )


def test_the_sentence_folds_to_ascii() -> None:
    text = 'organization = "Zürcher Straße"\ncontact = "“Łódź” \u2013 東京 …"'
    assert policy(text).sentence("a.example", ascii=True) == (
        'Zurcher Strasse has disallowed access to a.example. "Lodz" - ?? ... (ramnet)'
    )


@given(st.text(max_size=400))
def test_no_host_can_break_the_line(host: str) -> None:
    for ascii_only in (False, True):
        sentence = policy("version = 0").sentence(host, ascii=ascii_only)
        assert len(sentence.splitlines()) == 1
        assert not any(ord(c) < 32 or ord(c) == 127 for c in sentence)
        assert sentence.endswith("(ramnet)")
        assert sentence.isascii() or not ascii_only


@pytest.mark.parametrize("key", ["organization", "contact"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a\\nb", "one line"),
        ("a\\rb", "one line"),
        ("a\\u0000b", "one line"),
        ("a\\u007fb", "one line"),
        ("a\\u2028b", "one line"),
        ("a\\u202eb", "one line"),
        ("", "empty"),
        ("  ", "empty"),
        ("x" * 201, "200"),
    ],
)
def test_texts_that_could_break_or_forge_the_line_are_refused(
    key: str, value: str, reason: str
) -> None:
    with pytest.raises(PolicyError, match=rf"^policy.toml:1: {key}: .*{reason}"):
        document(f'{key} = "{value}"')


def test_200_characters_are_accepted() -> None:
    assert document(f'contact = "{"ü" * 200}"').contact == "ü" * 200
