"""Presets: the hosts that a well-known registry needs, as data in ``presets.toml``."""

import re
import tomllib
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

import msgspec

from ramnet.policy.pattern import Pattern, parse_host


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a parameter must look like (matched whole) and one that does."""

    pattern: str
    example: str


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One preset; host texts may hold ``{parameter}``."""

    title: str
    registries: tuple[str, ...]
    sign_in: tuple[str, ...] = ()
    redirects: tuple[str, ...] = ()
    broad: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    parameter: dict[str, Parameter] = {}
    name: str = ""

    @property
    def usage(self) -> str:
        """How it is written in a policy, such as ``ecr:ACCOUNT:REGION``."""
        return ":".join([self.name, *(p.upper() for p in self.parameters)])

    @property
    def example(self) -> str:
        """One that can be used as it stands, such as ``ecr:123456789012:eu-west-1``."""
        return ":".join([self.name, *(self.parameter[p].example for p in self.parameters)])


class PresetUse(msgspec.Struct, frozen=True):
    """A preset with its parameters filled in; ``text`` is what the policy says."""

    text: str
    registries: tuple[str, ...]
    sign_in: tuple[str, ...]
    redirects: tuple[str, ...]
    broad: tuple[str, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """All that it allows, registry first."""
        return self.registries + self.sign_in + self.redirects

    def patterns(self) -> list[Pattern]:
        """The same, parsed."""
        return [parse_host(host) for host in self.hosts]


class UnknownPresetError(ValueError):
    """A preset that does not exist or whose parameters do not fit; the text says how it goes."""


def list_presets() -> list[Preset]:
    """Return every preset, in the order of the file."""
    return list(_load().values())


def use_preset(text: str) -> PresetUse:
    """Resolve ``name`` or ``name:parameter:...``.

    Raises:
        UnknownPresetError: no such preset, or parameters missing, too many or ill-formed.
    """
    name, *values = text.split(":")
    preset = _load().get(name)
    if preset is None:
        raise UnknownPresetError(f"there is no preset {name[:80]!r}{_nearest(name)}")
    if len(values) != len(preset.parameters):
        raise UnknownPresetError(f"write it as {preset.usage}, such as {preset.example!r}")
    for key, value in zip(preset.parameters, values, strict=True):
        wanted = preset.parameter[key]
        if not re.fullmatch(wanted.pattern, value):
            raise UnknownPresetError(
                f"{value[:80]!r} is no {key} of preset {name}, such as {wanted.example!r}"
            )
    given = dict(zip(preset.parameters, values, strict=True))
    lists = (preset.registries, preset.sign_in, preset.redirects, preset.broad)
    return PresetUse(text, *(tuple(h.format_map(given) for h in hosts) for hosts in lists))


def preset_of(registry: str) -> PresetUse | None:
    """Return the preset that has ``registry``, a normalised name, as a registry of its own."""
    for preset, pattern in _registry_patterns():
        if match := pattern.fullmatch(registry):
            values = (match[parameter] for parameter in preset.parameters)
            return use_preset(":".join([preset.name, *values]))
    return None


@lru_cache(maxsize=1)
def _registry_patterns() -> list[tuple[Preset, re.Pattern[str]]]:
    return [
        (preset, re.compile(_regex(template, preset)))
        for preset in list_presets()
        for template in preset.registries
    ]


def _regex(template: str, preset: Preset) -> str:
    """Turn ``{account}.dkr.ecr.{region}.amazonaws.com`` into a pattern that reads it back."""
    pieces = re.split(r"(\{\w+\}|\*)", template)
    return "".join(
        "[^.]+"
        if piece == "*"
        else f"(?P<{piece[1:-1]}>{preset.parameter[piece[1:-1]].pattern})"
        if piece.startswith("{")
        else re.escape(piece)
        for piece in pieces
    )


def _nearest(name: str) -> str:
    near = get_close_matches(name.lower(), _load(), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


@lru_cache(maxsize=1)
def _load() -> dict[str, Preset]:
    text = files("ramnet.policy").joinpath("presets.toml").read_text("utf-8")
    table = msgspec.convert(tomllib.loads(text), dict[str, Preset])
    return {name: msgspec.structs.replace(p, name=name) for name, p in table.items()}
