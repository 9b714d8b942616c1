"""``policy validate``: every fault of a document at once, each with its line."""

import json

import pytest

from ramnet.policy import Preset, Review, list_presets, review_document

PLANTED = """\
version = 6
organization = "acme"
contcat = "ask it-help@acme.example"
docker_hub = false
presets = ["ghcr", "ecr", "gcr"]

[[registry]]
host = "10.0.0.5:5000"

[[registry]]
host = "two words"
[[registry]]
domain = "corp.example"
[[registry]]
host = "build.corp.example"
[[registry]]
domain = "corp.example"

[[registry]]
host = "quay.io"
[[registry]]
domain = "partner.example"
allowed = false
[[registry]]
host = "images.partner.example"
"""


def review(text: str, previous_version: int | None = None) -> Review:
    return review_document(text.encode(), source="f", previous_version=previous_version)


def test_ten_planted_faults_are_all_named_with_their_lines() -> None:
    found = review(PLANTED, previous_version=6)
    named = [(fault.line, fault.key) for fault in found.faults]
    assert named == [(3, "contcat"), (5, "presets[1]"), (11, "registry[1].host")]
    assert [(f.line, f.code, f.key) for f in found.findings] == [
        (1, "version-not-risen", "version"),
        (4, "docker-hub-shut", "docker_hub"),
        (5, "broad", "presets[2]"),
        (7, "never-matches", "registry[0]"),
        (14, "covered", "registry[3]"),
        (16, "duplicate", "registry[4]"),
        (19, "missing-redirect", "registry[5]"),
        (24, "overruled", "registry[7]"),
    ]
    assert "write it as ecr:ACCOUNT:REGION" in found.faults[1].reason
    assert "cdn.quay.io, cdn01.quay.io, cdn02.quay.io, cdn03.quay.io" in found.findings[6].text


def test_the_same_in_the_shape_of_dockers_object() -> None:
    document = {
        "enabled": True,
        "standard_registries": [{"id": "DockerHub", "allowed": True}],
        "custom_registries": [
            {"address": "two words", "allowed": True},
            {"address": "a.example", "allow": True},
            {"address": "10.0.0.5", "allowed": True},
        ],
    }
    found = review(json.dumps(document, indent=1))
    assert [(f.line, f.key) for f in found.faults] == [
        (11, "custom_registries[0].address"),
        (16, "custom_registries[1].allow"),
    ]
    assert [(f.line, f.key) for f in found.findings] == [(18, "custom_registries[2]")]


@pytest.mark.parametrize("text", ["version = \n", "{", '{"a": 1, "a": 2}', "[registry\n"])
def test_what_is_no_document_at_all_has_one_fault(text: str) -> None:
    found = review(text)
    assert len(found.faults) == 1
    assert found.findings == []


def test_a_wrong_type_of_the_whole_array_is_one_fault() -> None:
    found = review('version = 1\nregistry = 7\n[[x]]\ny = 1\npresets = "ghcr"\n')
    assert {f.key for f in found.faults} == {"registry", "x"}


@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_each_preset_is_clean(preset: Preset) -> None:
    found = review(f"version = 1\npresets = ['{preset.example}']\n")
    assert found.faults == []
    assert {f.severity for f in found.findings} <= {"note"}
    assert found.document is not None
