"""Presets: data that is complete, and parameters that are checked."""

import pytest

from ramnet.policy import findings, list_presets
from ramnet.policy.pattern import parse_host
from ramnet.policy.presets import Preset, UnknownPresetError, preset_of, use_preset
from tests.unit.policy.build import document, policy

NAMES = [preset.name for preset in list_presets()]


def _sample(host: str) -> str:
    return host.replace("*", "x")


def test_the_well_known_registries_are_there() -> None:
    assert set(NAMES) == {
        "docker-hub", "ecr", "ecr-public", "ghcr", "gcr", "artifact-registry", "gitlab", "quay",
        "redhat", "acr", "mcr", "kubernetes", "nvidia",
    }  # fmt: skip


@pytest.mark.parametrize("preset", list_presets(), ids=NAMES)
def test_a_preset_allows_all_its_hosts_and_is_clean(preset: Preset) -> None:
    hub = str(preset.name == "docker-hub").lower()
    text = f"docker_hub = {hub}\npresets = ['{preset.example}']"
    used, decide = use_preset(preset.example), policy(text).decide
    for host in used.hosts:
        assert parse_host(host).text == host
        assert decide(_sample(host), 443).allowed
        assert preset.name in str(decide(_sample(host), 443).entry)
    assert set(used.broad) <= set(used.hosts)
    assert set(preset.parameters) == set(preset.parameter)
    codes = {(f.code, f.severity) for f in findings(document(text))}
    assert codes <= {("broad", "note"), ("docker-hub-shut", "note")}
    assert ("broad", "note") in codes or not preset.broad


@pytest.mark.parametrize("preset", list_presets(), ids=NAMES)
def test_a_registry_written_by_hand_leads_to_its_preset(preset: Preset) -> None:
    for registry in use_preset(preset.example).registries:
        found = preset_of(_sample(registry))
        assert found is not None
        assert set(found.hosts) >= {registry}


def test_the_hosts_behind_ecr() -> None:
    decide = policy("presets = ['ecr:123456789012:eu-west-1']").decide
    entry = "api.ecr.eu-west-1.amazonaws.com (preset ecr:123456789012:eu-west-1)"
    assert decide("api.ecr.eu-west-1.amazonaws.com").entry == entry
    assert decide("prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com").allowed
    assert not decide("210987654321.dkr.ecr.eu-west-1.amazonaws.com").allowed
    assert not decide("123456789012.dkr.ecr.eu-west-2.amazonaws.com").allowed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no preset ''"),
        ("GHCR", "did you mean 'ghcr'?"),
        ("ecr", "write it as ecr:ACCOUNT:REGION, such as 'ecr:123456789012:eu-west-1'"),
        ("ecr:123456789012", "write it as ecr:ACCOUNT:REGION"),
        ("ecr:123456789012:eu-west-1:x", "write it as ecr:ACCOUNT:REGION"),
        ("ghcr:x", "write it as ghcr, such as 'ghcr'"),
        ("ecr:12345678901:eu-west-1", "'12345678901' is no account of preset ecr"),
        ("ecr:12345678901\u0663:eu-west-1", "is no account"),
        ("ecr:123456789012:*", "'*' is no region of preset ecr"),
        ("ecr:123456789012:eu-west-1.evil.example", "is no region"),
        ("ecr:123456789012:eu-west-1\n", "is no region"),
        ("ecr:123456789012:cn-north-1", "is no region"),
        ("acr:evil.example/", "is no registry of preset acr"),
        ("acr:{registry}", "is no registry"),
        ("acr", "write it as acr:REGISTRY, such as 'acr:acme1'"),
    ],
)
def test_presets_that_do_not_fit_are_refused(text: str, reason: str) -> None:
    with pytest.raises(UnknownPresetError) as refused:
        use_preset(text)
    assert reason in str(refused.value)
