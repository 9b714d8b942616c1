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
    hosts: tuple[str, ...]
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
    preset: Preset
    hosts: tuple[str, ...]
    redirects: tuple[str, ...]
    broad: tuple[str, ...]

    def patterns(self) -> list[Pattern]:
        """What it allows, registry first."""
        return [parse_host(host) for host in self.hosts + self.redirects]


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
        if not re.fullmatch(wanted.pattern, value, re.ASCII):
            raise UnknownPresetError(
                f"{value[:80]!r} is no {key} of preset {name}, such as {wanted.example!r}"
            )
    return _filled(text, preset, dict(zip(preset.parameters, values, strict=True)))


def _filled(text: str, preset: Preset, values: dict[str, str]) -> PresetUse:
    def fill(hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host.format_map(values) for host in hosts)

    return PresetUse(text, preset, fill(preset.hosts), fill(preset.redirects), fill(preset.broad))


def _nearest(name: str) -> str:
    near = get_close_matches(name, _load(), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


@lru_cache(maxsize=1)
def _load() -> dict[str, Preset]:
    text = files("ramnet.policy").joinpath("presets.toml").read_text("utf-8")
    table = msgspec.convert(tomllib.loads(text), dict[str, Preset])
    return {name: msgspec.structs.replace(p, name=name) for name, p in table.items()}
