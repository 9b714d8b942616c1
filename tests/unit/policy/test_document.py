"""Three shapes, one model; and every refusal says where and why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet.errors import PolicyError
from ramnet.policy import (
    Document,
    DocumentError,
    Outcome,
    Policy,
    compile_policy,
    findings,
    read_document,
)
from ramnet.policy.locate import Shape
from tests.unit.policy import strategies
from tests.unit.policy.build import document, policy

OWN = {
    "version": 7,
    "organization": "acme",
    "docker_hub": False,
    "presets": ["ghcr"],
    "registry": [
        {"host": "registry.corp.example:5000", "name": "Build registry"},
        {"domain": "corp.example", "local": True},
        {"host": "old.corp.example", "allowed": False},
    ],
}
OWN_TOML = """
version = 7
organization = "acme"
docker_hub = false
presets = ["ghcr"]
[[registry]]
host = "registry.corp.example:5000"
name = "Build registry"
[[registry]]
domain = "corp.example"
local = true
[[registry]]
host = "old.corp.example"
allowed = false
"""
DOCKER = {
    "enabled": True,
    "standard_registries": [{"id": "DockerHub", "allowed": False}],
    "custom_registries": [
        {"address": "corp.example", "friendly_name": "Corp", "allowed": True},
        {"address": "registry.example:5000", "friendly_name": None, "allowed": True},
        {"address": "*.gcr.io", "friendly_name": "", "allowed": True},
        {"address": "bad.corp.example", "allowed": False},
    ],
}


def check_refusal(refused: PolicyError) -> None:
    assert str(refused).startswith("f")
    assert len(str(refused).splitlines()) == 1


def read(data: bytes) -> Document:
    return read_document(data, source="f")


def test_toml_and_json_are_one_model() -> None:
    toml, json_ = document(OWN_TOML), read(json.dumps(OWN).encode())
    assert (toml.shape, json_.shape) == (Shape.TOML, Shape.JSON)
    for field in ("version", "organization", "contact", "docker_hub", "presets", "entries"):
        assert getattr(toml, field) == getattr(json_, field)
    assert [entry.text for entry in toml.entries] == [
        "registry.corp.example:5000",
        "corp.example (domain)",
        "old.corp.example",
    ]
    assert [entry.name for entry in toml.entries] == ["Build registry", "", ""]


def test_dockers_api_object_is_read() -> None:
    docker = read(json.dumps(DOCKER).encode())
    assert docker.shape is Shape.DOCKER
    decide = Policy(compile_policy(docker)).decide
    assert decide("docker.io").outcome is Outcome.UNLISTED
    assert decide("a.b.corp.example").entry == "corp.example (domain)"
    assert decide("registry.example", 5000).entry == "registry.example:5000"
    assert not decide("registry.example", 443).allowed
    assert not decide("a.registry.example", 5000).allowed
    assert decide("eu.gcr.io").allowed
    assert not decide("gcr.io").allowed
    assert decide("x.bad.corp.example").outcome is Outcome.DENIED


def test_dockers_object_turned_off_restricts_nothing() -> None:
    off = Policy(compile_policy(read(json.dumps(DOCKER | {"enabled": False}).encode())))
    assert off.decide("evil.example", 443) == (Outcome.ALLOWED, "enabled = false", False)
    assert not off.enabled


def test_dockers_hub_is_allowed_unless_one_entry_says_no() -> None:
    yes, no = ({"id": "DockerHub", "allowed": value} for value in (True, False))
    for standard, allowed in (([], True), ([yes], True), ([no, yes], False), ([yes, no], False)):
        data = json.dumps({"enabled": True, "standard_registries": standard}).encode()
        assert read(data).docker_hub is allowed


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"\0" * 512])
def test_what_a_crash_leaves_of_a_file_is_refused(data: bytes) -> None:
    with pytest.raises(PolicyError, match=r"f: the document is empty|f:1"):
        read(data)


@pytest.mark.parametrize(
    "data", [b"# nothing\n", b"version = 0", b"{}", b" \r\n{ }", b"\xef\xbb\xbf{}"]
)
def test_nothing_written_is_the_default_policy(data: bytes) -> None:
    assert read(data).docker_hub
    assert read(data).entries == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = ", "f:1: Invalid value"),
        ("\n\nversion 7", "f:3: Expected '=' after a key in a key/value pair"),
        ("version = 7\nversion = 8\n", "f:2: Cannot overwrite a value"),
        ("version = -1", "f:1: version: Expected int >= 0"),
        ("version = 1.0", "f:1: version: Expected int, got float"),
        ("version = true", "f:1: version: Expected int, got bool"),
        ("version = nan", "f:1: version: Expected int, got float"),
        ("version = 9223372036854775808", "f:1: version: Expected int <="),
        ("version = " + "1" * 5000, "f: Exceeds the limit"),
        ("docker_hub = 'no'", "f:1: docker_hub: Expected bool, got str"),
        ("organisation = 'a'", "f:1: organisation: unknown key; did you mean 'organization'?"),
        ("enabled = false", "f:1: enabled: unknown key"),  # Docker's own object has it
        ("[[registry]]\nhots = 'a'", "f:2: registry[0].hots: unknown key; did you mean 'host'?"),
        ("[[registry]]\nhost = 1", "f:2: registry[0].host: Expected str, got int"),
        ("[registry]\nhost = 'a'", "f:1: registry: Expected array, got object"),
        ("[[registry]]\nname = 'a'", "f:1: registry[0]: give either host or domain"),
        ("[[registry]]\nhost='a'\ndomain='a'", "f:1: registry[0]: give either host or domain"),
        ("[[registry]]\nhost='a'\n[[registry]]\nhost='*'", "f:4: registry[1].host: '*' is not a"),
        ("[[registry]]\nhost='a b'", "f:2: registry[0].host: 'a b' is not a host name: it cont"),
        ("[[registry]]\ndomain='*.a'", "f:2: registry[0].domain: '*.a' is not a host pattern"),
        ("presets = ['ghcr',\n'ecr']", "f:2: presets[1]: write it as ecr:ACCOUNT:REGION, such"),
        ("presets = ['ghrc']", "f:1: presets[0]: there is no preset 'ghrc'; did you mean 'ghcr'?"),
        ("presets = 'ghcr'", "f:1: presets: Expected array, got str"),
        ("enabled = true", "f:1: enabled: unknown key"),
        ("a" + ".a" * 5000 + " = 1", "f:1: a key has too many parts"),
        ("x = {a" + ".'a'" * 5000 + " = 1}", "f:1: a key has too many parts"),
        ("x = " + "[" * 100000, "f: it is nested too deeply"),
        ("x = " + "{a=" * 100000, "f: it is nested too deeply"),
        ('{"version": 7,}', "f:1: JSON is malformed: trailing comma in object"),
        ('{"version": 7\n', "f:2: Input data was truncated"),
        ('{\n"version": NaN}', "f:2: JSON is malformed: invalid character"),
        ('{"version": 7} x', "f:1: JSON is malformed: trailing characters"),
        ('{"version": null}', "f:1: version: Expected int, got null"),
        ('{"registry": [{\n"host": null}]}', "f:2: registry[0].host: Expected str, got null"),
        ('{"registry": [1]}', "f:1: registry[0]: Expected object, got int"),
        ('{"registry": [{"host":"a"},\n{"host":""}]}', "f:2: registry[1].host: '' is not a host"),
        ('{"a": ' + "[" * 100000, "f: it is nested too deeply"),
        ('{"custom_registries": []}', "f: 'enabled' is missing"),
        ('{"enabled": true, "registry": []}', "f:1: registry: unknown key"),
        (
            '{"enabled": true,\n"custom_registries": [{"address": "a"}]}',
            "f:2: custom_registries[0]: 'allowed' is missing",
        ),
        (
            '{"enabled": true,\n"custom_registries": [{"address": "a b", "allowed": true}]}',
            "f:2: custom_registries[0].address: 'a b' is not a host name",
        ),
        (
            '{"enabled": true,\n"standard_registries": [{"id": "Quay", "allowed": true}]}',
            "f:2: standard_registries[0].id: the only one known is 'DockerHub'",
        ),
    ],
)
def test_refusals_name_source_line_key_and_reason(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as refused:
        read(text.encode())
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_what_is_not_utf8_is_refused_with_its_line() -> None:
    for data in (b"a = 1\nb = '\xff'", b'{\n"organization": "\xff"}'):
        with pytest.raises(PolicyError, match=r"^f:2: it is not UTF-8 text$"):
            read(data)
    with pytest.raises(PolicyError, match="UTF-8"):
        read("version = 1".encode("utf-16"))


def test_all_faults_are_told_at_once_in_the_documents_order() -> None:
    text = """
contact = ""
presets = [
    "nope",  # a comment, with ] and "
    "ecr:12:eu-west-1",
]
[[registry]]
name = '''
[[registry]]
host = "not this line"'''
host = "a b"
[[ registry ]]
domain = "ok.example"
[[registry]]
"host" = "*"
"""
    with pytest.raises(DocumentError, match=r"^policy.toml:2: .*\(and 4 more\)$") as refused:
        document(text)
    places = [(fault.line, fault.key) for fault in refused.value.faults]
    assert places == [
        (2, "contact"),
        (4, "presets[0]"),
        (5, "presets[1]"),
        (11, "registry[0].host"),
        (15, "registry[2].host"),
    ]
    assert len(refused.value.lines()) == 5


def test_faults_of_inline_tables_are_placed() -> None:
    text = 'registry = [\n {host = "a"},\n\n {host = "b", domain = "*"},\n {domain = "*"}]'
    with pytest.raises(DocumentError) as refused:
        document(text)
    assert [fault.line for fault in refused.value.faults] == [4, 5]


def test_a_hundred_faults_are_enough() -> None:
    with pytest.raises(DocumentError) as refused:
        document("[[registry]]\nhost = '*'\n" * 1000)
    assert len(refused.value.faults) == 100


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "version": 2}',
        '{"registry": [{"host": "a", "host": "b"}]}',
        '{"registry": [{"host": "a", "host" : "b"}]}',
        '{"registry": [{"host": "a", "\\u0068ost": "b"}]}',
        '{"registry": [{"name": "\\":", "host": "a", "host": "b"}]}',
        '{"registry": [{"host": "a", "allowed": false, "allowed": true}]}',
        '{"enabled": false, "enabled": true}',
        '{"enabled": true, "custom_registries": [{"address":"a","address":"b","allowed":true}]}',
        '{"enabled": true, "custom_registries": [{"address": "a", "allowed": false, '
        '"friendly_name": "\\u003a", "allowed": true}]}',
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match="stands twice in one object"):
        read(text.encode())


@pytest.mark.parametrize("name", [":", '":', '\\":', "a :", "\\\\", "{}[],"])
def test_texts_that_look_like_keys_are_no_repetition(name: str) -> None:
    data = json.dumps({"registry": [{"name": name, "host": "a"}, {"host": "b"}]}).encode()
    assert len(read(data).entries) == 2


def test_a_document_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ramnet.policy.document.MAX_DOCUMENT", 1 << 20)
    read(b"#" * (1 << 20))
    with pytest.raises(PolicyError, match=r"^f: larger than 1 MiB$"):
        read(b"#" * ((1 << 20) + 1))


def test_many_ports_of_one_name_are_refused_since_they_would_slow_every_decision() -> None:
    def ports(count: int) -> str:
        return "".join(f"[[registry]]\nhost = 'a.example:{n}'\n" for n in range(1, count + 1))

    assert policy(ports(256)).decide("a.example", 256).allowed
    with pytest.raises(PolicyError, match=r"^policy.toml: more than 256 entries differ only in"):
        policy(ports(257))


_words = st.sampled_from(
    [*'{}[]",:=\n\\. *#', "'", '"""', "[[registry]]", "registry", "host", "domain", "allowed",
     "enabled", "custom_registries", "address", "true", "null", "7", "1e9", "nan", "a.example",
     "presets", "ghcr", "version", "ü", "\x00", "\ud800"]
)  # fmt: skip


@strategies.examples(150)
@given(st.binary(max_size=200) | st.lists(_words, max_size=40).map("".join).map(
    lambda text: text.encode("utf-8", "surrogatepass")))  # fmt: skip
def test_any_bytes_are_a_document_or_a_refusal(data: bytes) -> None:
    try:
        read_ = read(data)
    except PolicyError as refused:
        check_refusal(refused)
        return
    Policy(compile_policy(read_)).decide("a.example")
    findings(read_, data=data)


@strategies.examples(150)
@given(
    st.sampled_from([OWN_TOML.encode(), json.dumps(OWN, indent=1).encode(),
                     json.dumps(DOCKER, indent=1).encode()]),
    st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=3)), max_size=3),
)  # fmt: skip
def test_damaged_documents_are_read_or_refused(data: bytes, edits: list[tuple[int, bytes]]) -> None:
    for place, piece in edits:
        place %= len(data)
        data = data[:place] + piece + data[place + 1 :]
    try:
        findings(read(data), data=data)
    except PolicyError as refused:
        check_refusal(refused)
