"""The man page and the files that the package installs: they say what there is."""

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from ramnet import cli, config
from ramnet.audit import Event
from ramnet.policy.syntax import OwnTable, Registry
from ramnet.suggest import Suggestion

_VM = Path(__file__).parents[2] / "vm-image"


@pytest.fixture(scope="module")
def page() -> Any:
    sys.path.insert(0, str(_VM))
    try:
        return importlib.import_module("package.manpage")
    finally:
        sys.path.remove(str(_VM))


def _commands(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= _commands(command, f"{prefix}{name} ")
        else:
            found[prefix + name] = command
    return found


def test_every_json_is_documented(page: Any) -> None:
    documented = {name for names in page.JSON for name in names.split(", ")}
    assert documented == {
        name
        for name, command in _commands(cli.main).items()
        if any(parameter.name == "as_json" for parameter in command.params)
    }


def test_every_option_says_what_it_does() -> None:
    for name, command in _commands(cli.main).items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_the_keys_are_those_that_are_printed(page: Any, tmp_path: Path) -> None:
    policy, config_file = tmp_path / "p.toml", tmp_path / "r.toml"
    policy.write_text('organization = "a"\n[[registry]]\nhost = "a.example"\n')
    config_file.write_text(f'policy = "{policy}"\n[[scope]]\nname = "a"\n')
    for command, argument in (
        ("check", "a.example"),
        ("policy show", str(policy)),
        ("policy validate", str(policy)),
        ("policy presets", ""),
    ):
        arguments = [*command.split(), *filter(None, [argument]), "--json"]
        done = CliRunner().invoke(cli.main, [*arguments, "--config", str(config_file)])
        document = json.loads(done.stdout)
        found = document[0] if isinstance(document, list) else document
        assert {*found} <= {*re.findall(r"[a-z_]+", page.JSON[command])}, command
    for command, kind in (("events", Event), ("suggest", Suggestion)):
        assert {*kind.__struct_fields__} <= {*re.findall(r"[a-z_]+", page.JSON[command])}


def test_paragraphs_begin_at_the_margin(page: Any) -> None:
    text = page.page().partition(".SH RAMNET.TOML")[0]
    assert not [line for line in text.splitlines() if line.startswith(" ")]


def test_the_installed_configuration_shows_every_key_and_can_be_read(tmp_path: Path) -> None:
    text = (_VM / "etc" / "ramnet.toml").read_text()
    assert config.load(_VM / "etc" / "ramnet.toml").scopes[0].name == "dockerd"
    kinds: tuple[type[msgspec.Struct], ...] = (
        config.Scope, config.Resolver, config.Proxy, config.Denial, config.Exempt, config.Trust,
        config.Session, config.Metrics, config.Config,
    )  # fmt: skip
    for kind in kinds:
        for key in kind.__struct_encode_fields__:
            assert re.search(rf"(?m)^(# *)?(\[+{key}\]|{key} =)|^#   {key} =", text), key
    everything = tmp_path / "all.toml"
    everything.write_text(re.sub(r"(?m)^# ?(?=\[|[a-z_]+ = )", "", text))
    assert config.load(everything).trust.root == "/etc/ramnet/root.json"


def test_the_installed_policy_shows_every_key() -> None:
    text = (_VM / "etc" / "policy.toml").read_text()
    for key in (*OwnTable.__struct_fields__, *Registry.__struct_fields__):
        assert re.search(rf"(?m)^(# )?(\[+{key}\]|{key} =)", text), key
