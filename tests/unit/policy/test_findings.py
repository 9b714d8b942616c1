"""What ``policy validate`` remarks on."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.policy import Finding, findings, read_document
from tests.unit.policy import strategies
from tests.unit.policy.build import document, policy_of
from tests.unit.policy.reference import Line
from tests.unit.policy.strategies import PORTS


def remarks(*entries: str, head: str = "") -> list[tuple[str, str]]:
    text = head + "\n" + "".join(f"[[registry]]\n{entry}\n" for entry in entries)
    return [(f.code, f.key) for f in findings(document(text))]


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ("host='a.corp.example'", "host='A.corp.example.'", "duplicate"),
        ("domain='corp.example'", "host='a.corp.example'", "covered"),
        ("domain='corp.example'", "host='**.corp.example'", "covered"),
        ("domain='corp.example'", "host='*.corp.example:80'", "covered"),
        ("domain='corp.example'", "host='a-*.corp.example'", "covered"),
        ("domain='corp.example'", "domain='a.corp.example'", "covered"),
        ("host='**.corp.example'", "domain='a.corp.example'", "covered"),
        ("host='**.corp.example'", "host='*.a.corp.example'", "covered"),
        ("host='*.corp.example'", "host='a.corp.example'", "covered"),
        ("host='a-*.corp.example'", "host='a-1.corp.example'", "covered"),
        ("host='a.corp.example'", "host='a.corp.example:80'", "covered"),
        ("host='a.corp.example'\nlocal=true", "host='a.corp.example'", "covered"),
        ("domain='corp.example'\nallowed=false", "host='a.corp.example'", "overruled"),
        ("domain='corp.example'\nallowed=false", "host='a.corp.example'\nallowed=false", "covered"),
    ],
)
def test_an_entry_that_adds_nothing_is_named(first: str, second: str, code: str) -> None:
    assert remarks(first, second) == [(code, "registry[1]")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("domain='corp.example'", "host='a.corp.example'\nlocal=true"),
        ("domain='corp.example'", "host='a.corp.example'\nallowed=false"),
        ("domain='corp.example:80'", "host='a.corp.example'"),
        ("host='*.corp.example'", "domain='a.corp.example'"),
        ("host='*.corp.example'", "host='**.corp.example'"),
        ("host='**.corp.example'", "domain='corp.example'"),
        ("host='*._.corp.example'", "host='**.corp.example'"),
        ("host='a.corp.example'", "host='*.corp.example'"),
        ("host='a.corp.example:80'\nallowed=false", "host='a.corp.example'"),
    ],
)
def test_an_entry_that_adds_something_is_not_named(first: str, second: str) -> None:
    assert ("covered", "registry[1]") not in remarks(first, second)
    assert ("overruled", "registry[1]") not in remarks(first, second)


@strategies.examples(150)
@given(
    st.lists(strategies.lines(), min_size=2, max_size=6),
    st.lists(strategies.names(), min_size=1, max_size=20),
)
def test_taking_a_superfluous_entry_out_changes_no_verdict(
    lines: list[Line], asked: list[str]
) -> None:
    table = {"docker_hub": False, "registry": [line.table() for line in lines]}
    for finding in findings(read_document(json.dumps(table).encode(), source="f")):
        if finding.code not in ("duplicate", "covered", "overruled", "never-matches"):
            continue
        index = int(finding.key[len("registry[") : -1])
        before, after = policy_of(lines), policy_of(lines[:index] + lines[index + 1 :])
        for name in asked:
            for port in PORTS:
                was, now = before.decide(name, port), after.decide(name, port)
                assert (was.outcome, was.local) == (now.outcome, now.local), finding


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "10.0.0.5:5000", "[::1]:5000", "0x7f000001", "0177.1", "2130706433", "*.5"]
)
def test_an_address_never_matches(host: str) -> None:
    assert remarks(f"host='{host}'") == [("never-matches", "registry[0]")]


@pytest.mark.parametrize("host", ["*.com", "**.io", "*.co.uk", "registry.*", "*-a.dev"])
def test_patterns_in_which_anybody_can_have_a_name(host: str) -> None:
    assert ("wide", "registry[0]") in remarks(f"host='{host}'")


@pytest.mark.parametrize("host", ["*.internal", "**.corp", "*.corp.example", "localhost", "com"])
def test_patterns_in_which_only_the_company_can(host: str) -> None:
    assert remarks(f"host='{host}'") == []


def test_hosts_that_all_tenants_share() -> None:
    for entry in ("host='storage.googleapis.com'", "domain='googleapis.com'",
                  "host='*.blob.core.windows.net'"):  # fmt: skip
        assert remarks(entry) == [("broad", "registry[0]")]
    assert remarks("host='acme.blob.core.windows.net'") == []
    assert remarks(head="presets = ['ghcr', 'gcr']") == [("broad", "presets[1]")]


def test_a_registry_without_its_redirect_hosts_is_named_with_them() -> None:
    ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    [finding] = findings(document(f"[[registry]]\nhost = '{ecr}'"))
    assert finding.code == "missing-redirect"
    assert "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com" in finding.text
    assert "'ecr:123456789012:eu-west-1'" in finding.text
    assert remarks("host='ghcr.io'") == [("missing-redirect", "registry[0]")]
    assert remarks("host='ghcr.io'", "host='pkg-containers.githubusercontent.com'") == []


def test_docker_hub_shut_out() -> None:
    assert remarks("host='a.example'", head="docker_hub = false") == [
        ("docker-hub-shut", "docker_hub")
    ]
    text = "[[registry]]\ndomain = 'docker.io'\nallowed = false"
    [finding] = findings(document(text))
    assert (finding.code, finding.severity) == ("docker-hub-shut", "warning")


def test_remarks_on_the_whole() -> None:
    assert remarks(head="docker_hub = false")[0] == ("nothing-allowed", "")
    assert remarks(head="presets = ['ghcr', 'ghcr']") == [("duplicate", "presets[1]")]
    off = read_document(b'{"enabled": false}', source="f")
    assert [f.code for f in findings(off)] == ["unrestricted"]
    seven = document("version = 7")
    assert findings(seven, previous_version=6) == []
    for previous in (7, 8):
        [finding] = findings(seven, previous_version=previous)
        assert (finding.code, finding.key) == ("version-not-risen", "version")


def test_remarks_have_lines_where_the_bytes_are_given() -> None:
    data = b"version = 1\n\n[[registry]]\nhost = '10.0.0.5'\n[[registry]]\n\ndomain='a.example'\n"
    data += b"[[registry]]\nhost='x.a.example'\n"
    found: list[Finding] = findings(read_document(data, source="f"), data=data, previous_version=1)
    assert [(f.code, f.line) for f in found] == [
        ("version-not-risen", 1),
        ("never-matches", 3),
        ("covered", 8),
    ]
    docker = json.dumps({"enabled": True, "custom_registries": [
        {"address": "10.0.0.5", "allowed": True}]}, indent=1).encode()  # fmt: skip
    [finding] = findings(read_document(docker, source="f"), data=docker)
    assert (finding.key, finding.line) == ("custom_registries[0]", 4)
