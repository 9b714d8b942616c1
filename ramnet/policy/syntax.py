"""From bytes to the tables as written: syntax, types and unknown keys, no meaning yet."""

import json
import re
import tomllib
from difflib import get_close_matches
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, UnsetType

from ramnet.policy.fault import DocumentError, Faults
from ramnet.policy.locate import Shape
from ramnet.policy.sentence import DEFAULT_CONTACT, DEFAULT_ORGANIZATION


class Registry(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One ``[[registry]]`` as written; UNSET where a key is not there."""

    host: str | UnsetType = UNSET
    domain: str | UnsetType = UNSET
    allowed: bool | UnsetType = UNSET
    local: bool | UnsetType = UNSET
    name: str | UnsetType = UNSET


class OwnTable(msgspec.Struct, forbid_unknown_fields=True):
    """``policy.toml``, or the same as JSON."""

    version: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    organization: str = DEFAULT_ORGANIZATION
    contact: str = DEFAULT_CONTACT
    docker_hub: bool = True
    enforce: bool = True
    presets: list[str] = []
    registry: list[Registry] = []


class Standard(msgspec.Struct, forbid_unknown_fields=True):
    """An entry of ``standard_registries``."""

    id: str
    allowed: bool


class Custom(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An entry of ``custom_registries``."""

    address: str
    allowed: bool
    friendly_name: str | UnsetType | None = UNSET


class DockerObject(msgspec.Struct, forbid_unknown_fields=True):
    """``/orgs/{org}/settings/registry-access-management`` of Docker's Hub API."""

    enabled: bool
    standard_registries: list[Standard] = []
    custom_registries: list[Custom] = []


_DOCKER_KEYS: Final = frozenset(DockerObject.__struct_fields__)
_BOM: Final = b"\xef\xbb\xbf"
_BYTE: Final = re.compile(r" \(byte (\d+)\)$")
_LINE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_AT: Final = re.compile(r" - at `\$\.?(.*?)`$")
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(.*)`$")
_MISSING: Final = re.compile(r"^Object missing required field `(.*)`$")
# A key; or a value that begins with a colon. One that ends in a backslash is not known.
_JSON_KEY: Final = re.compile(rb'(?<!\\)"\s*+:')
# tomllib takes quadratic time for a key of many parts; ours have one part.
_STRING: Final = re.compile(r"""(?s)"(?:[^"\\]|\\.)*+"|'[^']*+'""")
_LONG_KEY: Final = re.compile(r"""(?<!["\w-])(?:["\w-]++[ \t]*+\.[ \t]*+){32}""")
_LONG_KEY_DOTS: Final = 32


def parse(data: bytes, faults: Faults) -> tuple[Shape, OwnTable | DockerObject]:
    """Read ``data`` by the shape it has.

    Raises:
        DocumentError: no UTF-8, broken syntax, a wrong type, an unknown or repeated key.
    """
    data = data.removeprefix(_BOM)
    try:
        if data.lstrip()[:1] == b"{":
            return _parse_json(data, faults)
        return Shape.TOML, _parse_toml(data.decode(), faults)
    except UnicodeDecodeError:
        raise faults.stop_at(_bad_utf8_line(data), "it is not UTF-8 text") from None


def _parse_json(data: bytes, faults: Faults) -> tuple[Shape, OwnTable | DockerObject]:
    shape = Shape.JSON
    content: OwnTable | DockerObject
    try:
        keys = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).keys()
        if _DOCKER_KEYS & keys:
            shape = Shape.DOCKER
            content = msgspec.json.decode(data, type=DockerObject)
        else:
            content = msgspec.json.decode(data, type=OwnTable)
    except msgspec.ValidationError as error:
        raise _wrong_content(error, shape, faults) from None
    except msgspec.DecodeError as error:
        place = _BYTE.search(str(error))
        end = int(place[1]) if place else len(data)
        reason = _BYTE.sub("", str(error))
        raise faults.stop_at(data.count(b"\n", 0, end) + 1, reason) from None
    if _count_keys(data) != len(keys) + _inner_keys(content):
        _refuse_repeated_keys(data, faults)
    return shape, content


def _parse_toml(text: str, faults: Faults) -> OwnTable:
    for number, line in enumerate(text.split("\n") if "." in text else (), 1):
        if line.count(".") >= _LONG_KEY_DOTS and _LONG_KEY.search(_STRING.sub('"', line)):
            raise faults.stop_at(number, "a key has too many parts")
    try:
        return msgspec.convert(tomllib.loads(text), OwnTable)
    except msgspec.ValidationError as error:
        raise _wrong_content(error, Shape.TOML, faults) from None
    except ValueError as error:  # TOMLDecodeError, or an integer too long for Python
        place = _LINE.search(str(error))
        last = text.count("\n") + (not text.endswith("\n"))
        at = int(place[1] or last) if place else None
        raise faults.stop_at(at, _LINE.sub("", str(error)).partition(";")[0]) from None


def _wrong_content(error: msgspec.ValidationError, shape: Shape, faults: Faults) -> DocumentError:
    """Reword msgspec's finding: the key first, and for a wrong key the nearest right one."""
    text = str(error)
    place = _AT.search(text)
    key, reason = (place[1], text[: place.start()]) if place else ("", text)
    if unknown := _UNKNOWN.match(reason):
        near = _nearest(key, unknown[1], shape)
        return faults.stop(shape, _join(key, unknown[1]), f"unknown key{near}")
    if missing := _MISSING.match(reason):
        return faults.stop(shape, key, f"{missing[1]!r} is missing")
    return faults.stop(shape, key, reason.replace("`", ""))


def _join(key: str, last: str) -> str:
    shown = last if re.fullmatch(r"[\w-]{1,80}", last) else ascii(last[:80])
    return f"{key}.{shown}" if key else shown


def _nearest(key: str, unknown: str, shape: Shape) -> str:
    tables: dict[str, type[msgspec.Struct]] = {
        "registry": Registry,
        "standard_registries": Standard,
        "custom_registries": Custom,
    }
    table = tables.get(key.partition("[")[0])
    dockers = () if shape is Shape.TOML else _DOCKER_KEYS
    known = table.__struct_fields__ if table else (*OwnTable.__struct_fields__, *dockers)
    near = get_close_matches(unknown, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _count_keys(data: bytes) -> int:
    """Count the keys of a JSON text, never too few; too many only costs a second look."""
    if any(space + b":" in data for space in (b" ", b"\t", b"\n", b"\r")):
        return len(_JSON_KEY.findall(data))
    return data.count(b'":')


def _inner_keys(content: OwnTable | DockerObject) -> int:
    """Count the keys of the inner objects as decoded, where a repeated one counts once."""
    if isinstance(content, DockerObject):
        named = sum(custom.friendly_name is not UNSET for custom in content.custom_registries)
        return 2 * len(content.standard_registries) + 2 * len(content.custom_registries) + named
    return sum(
        (r.host is not UNSET)
        + (r.domain is not UNSET)
        + (r.allowed is not UNSET)
        + (r.local is not UNSET)
        + (r.name is not UNSET)
        for r in content.registry
    )


def _refuse_repeated_keys(data: bytes, faults: Faults) -> None:
    """Refuse ``{"host": "a", "host": "b"}``: readers differ in which of the two they take."""

    def check(pairs: list[tuple[str, object]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            names = [key for key, _ in pairs]
            twice = next(key for key in names if names.count(key) > 1)
            raise faults.stop_at(None, f"the key {twice!r} stands twice in one object")

    json.loads(data, object_pairs_hook=check)


def _bad_utf8_line(data: bytes) -> int:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1
    return 1
