"""``enforce = false``: whose word it is, and that silence enforces."""

import pytest

from ramnet.policy import Policy, compile_policy, findings, read_document, to_tables, unite


def test_verdicts_stay_and_the_policy_says_that_it_is_not_enforced() -> None:
    policy = Policy(compile_policy(read_document(b"enforce = false\n", source="test")))
    assert not policy.enforced
    assert not policy.decide("evil.example").allowed


@pytest.mark.parametrize("text", [b"version = 1\n", b'{"enforce": true}', b'{"enabled": false}'])
def test_everything_else_is_enforced(text: bytes) -> None:
    assert Policy(compile_policy(read_document(text, source="test"))).enforced


def test_a_groups_document_does_not_lift_it() -> None:
    ours, group = (read_document(t, source="t") for t in (b"version = 1\n", b"enforce = false\n"))
    assert unite([ours, group]).enforce
    assert not unite([group, ours]).enforce


def test_it_is_remarked_on_and_written_out() -> None:
    document = read_document(b'{"enforce": false}', source="test")
    assert "not-enforced" in {finding.code for finding in findings(document)}
    assert to_tables(document)["enforce"] is False
