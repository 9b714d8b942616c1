"""The commands: what they print, and the exit codes of the contract."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ramnet import cli
from ramnet.audit import Event, EventLog, Redirect
from ramnet.cli import service
from ramnet.daemon import client
from ramnet.policy import list_presets
from tests.unit.policy.test_review import PLANTED

POLICY = """
version = 7
organization = "acme"
presets = ["ghcr"]
[[registry]]
host = "registry.corp.example:5000"
name = "Build registry"
[[registry]]
domain = "corp.example"
[[registry]]
host = "old.corp.example"
allowed = false
"""


class Machine:
    """A configuration and a policy of their own, and the commands run against them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config, self.policy = folder, folder / "r.toml", folder / "p.toml"
        self.policy.write_text(POLICY)
        self.config.write_text(
            f'policy = "{self.policy}"\nstate_dir = "{folder}/state"\n'
            f'control_socket = "{folder}/run/control.sock"\n[[scope]]\nname = "dockerd"\n'
        )

    def run(self, *arguments: str) -> Result:
        command = [*arguments, "--config", str(self.config)]
        return CliRunner().invoke(cli.main, command)

    def log(self) -> EventLog:
        (self.folder / "state" / "events").mkdir(parents=True)
        return EventLog(self.folder / "state" / "events" / "dockerd.jsonl")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("hosts", "code", "says"),
    [
        (["registry.corp.example:5000"], 0, "registry.corp.example:5000: allowed by"),
        (["ghcr.io"], 0, "ghcr.io: allowed by ghcr.io (preset ghcr)"),
        (["GHCR.io."], 0, "GHCR.io.: allowed by ghcr.io"),
        (["docker.io"], 0, "docker.io: allowed by docker_hub"),
        (["a.corp.example"], 0, "allowed by corp.example (domain)"),
        (["old.corp.example"], 1, "old.corp.example: refused by old.corp.example"),
        (["unlisted.example"], 1, "unlisted.example: refused (no entry allows it)"),
        (["ghcr.io", "unlisted.example"], 1, "unlisted.example: refused"),
        (["192.0.2.1"], 1, "192.0.2.1: refused"),
    ],
)
def test_check(machine: Machine, hosts: list[str], code: int, says: str) -> None:
    result = machine.run("check", *hosts)
    assert (result.exit_code, says in result.stdout) == (code, True)


def test_check_json(machine: Machine) -> None:
    result = machine.run("check", "--json", "old.corp.example:443", "docker.io")
    assert result.exit_code == 1
    denied, allowed = json.loads(result.stdout)
    assert denied == {
        "host": "old.corp.example",
        "port": 443,
        "allowed": False,
        "outcome": "denied",
        "entry": "old.corp.example",
        "local": False,
        "enforced": True,
    }
    assert allowed["allowed"] is True
    assert allowed["port"] is None


@pytest.mark.parametrize("host", ["[registry.example]", "a..b", "a b", "a:99999", "x" * 300])
def test_check_of_what_is_no_host_is_a_usage_error(machine: Machine, host: str) -> None:
    result = machine.run("check", host)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_check_of_a_broken_policy_names_it(machine: Machine) -> None:
    machine.policy.write_text("registries = 1\n")
    result = machine.run("check", "ghcr.io")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"ramnet: {machine.policy}:1: registries: ")
    assert result.stderr.count("\n") == 1


def test_a_broken_configuration_is_a_usage_error(machine: Machine) -> None:
    machine.config.write_text("polcy = 1\n")
    result = machine.run("check", "ghcr.io")
    assert result.exit_code == 2
    assert (
        result.stderr == f"ramnet: {machine.config}: polcy: unknown key; did you mean 'policy'?\n"
    )


def test_nothing_heavy_is_loaded_for_a_check(machine: Machine) -> None:
    heavy = {"asyncio", "rich", "pyroute2", "nftables", "cryptography", "ssl", "scapy"}
    program = (
        "import sys; from ramnet import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        f"finally: print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check", "ghcr.io", "--config", machine.config],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_status_without_a_service(machine: Machine) -> None:
    result = machine.run("status")
    assert result.exit_code == 3
    assert "the service does not answer" in result.stderr


@pytest.mark.parametrize("content", ["/dev/zero", b"\xff\xfe", b"x" * 40_000])
def test_a_file_that_holds_no_token(machine: Machine, tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "token"
    if isinstance(content, str):
        path.symlink_to(content)
    else:
        path.write_bytes(content)
    result = machine.run("sign-in", "--token-file", str(path))
    assert result.exit_code == 2
    assert "holds no token" in result.stderr


DOCUMENT: dict[str, Any] = {
    "state": "enforcing",
    "version": "0.1.0",
    "supervisor": {"pid": 7, "uptime_s": 90061.0},
    "policy": {
        "source": "/etc/ramnet/policy.toml",
        "version": 7,
        "organization": "acme [red]\x1b[31m",
        "entries": 3,
        "restricts": True,
        "age_s": 12.0,
        "error": None,
        "last_good_error": None,
        "signed": {"state": "expired", "seen": "2026-11-27 01:00 UTC", "expires": "2026-11-26"},
    },
    "session": {"enforce": True, "subject": "dev@acme.example", "expires": "2026-11-28"},
    "scopes": [
        {
            "name": "dockerd",
            "netns": "self",
            "tier": "redirect",
            "gate_pid": 8,
            "restarts": 0,
            "rules": {"intact": True, "problem": None, "refused_packets": {"tcp": 3}},
        }
    ],
    "exempt": [{"uid": "chrony", "proto": "udp", "port": 123, "cgroup": None, "address": None}],
    "warnings": ["dockerd has a proxy"],
}


@pytest.mark.parametrize(
    ("state", "code"), [("enforcing", 0), ("auditing", 1), ("refusing", 1), ("starting", 1)]
)
def test_status(machine: Machine, monkeypatch: pytest.MonkeyPatch, state: str, code: int) -> None:
    monkeypatch.setattr(client, "ask", lambda *_: {**DOCUMENT, "state": state})
    result = machine.run("status")
    assert result.exit_code == code
    for words in (
        state,
        "version 7 of acme [red]?",
        "uid=chrony",
        "dockerd has a proxy",
        "1 d 1 h",
        "expired heard 2026-11-27 01:00 UTC, expires 2026-11-26",
        "session  dev@acme.example, until 2026-11-28",
    ):
        assert words in result.stdout
    assert "\x1b" not in result.stdout
    assert json.loads(machine.run("status", "--json").stdout)["state"] == state


@pytest.mark.parametrize(
    ("restriction", "words"),
    [
        ("nothing", "NOTHING IS RESTRICTED: every registry may be reached\nenforcing  ramnet"),
        ("recorded", "NOT ENFORCED: everything passes and is recorded\nenforcing  ramnet"),
        ("policy", "enforcing  ramnet"),
        (None, "enforcing  ramnet"),
    ],
)
def test_what_restricts_nothing_is_the_first_thing_that_is_said(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, restriction: str | None, words: str
) -> None:
    """``None`` is a service from before there was such a word."""
    told = {} if restriction is None else {"restriction": restriction}
    monkeypatch.setattr(client, "ask", lambda *_: {**DOCUMENT, **told})
    for command in (["status"], ["top", "-n", "1"]):
        assert machine.run(*command).stdout.startswith(words), command
    (frame,) = machine.run("top", "--json", "-n", "1").stdout.splitlines()
    assert json.loads(frame)["restriction"] == restriction


def test_events(machine: Machine) -> None:
    log = machine.log()
    log.write(Event(scope="dockerd", kind="dns", name="a.example", verdict="allowed", entry="*.b"))
    log.write(
        Event(
            scope="dockerd",
            kind="tls",
            name="evil\x1b[31m",
            port=443,
            verdict="refused",
            original_destination="192.0.2.1:443",
            bytes_up=517,
            reason="no entry",
        )
    )
    lines = machine.run("events").stdout.splitlines()
    assert "allowed" in lines[0]
    assert lines[0].endswith("a.example  by *.b")
    assert lines[1].endswith("evil?[31m:443  meant for 192.0.2.1:443  517 up, 0 down  no entry")
    assert machine.run("events", "--denied").stdout.splitlines() == lines[1:]
    (denied,) = machine.run("events", "--denied", "--json").stdout.splitlines()
    assert json.loads(denied)["port"] == 443


def test_events_follow(machine: Machine) -> None:
    """Woken by the kernel: a log that comes late, one that is rotated, and the filters."""
    # Where the tests run in the background, SIGINT is ignored and a child inherits that.
    listening = ["env", "--default-signal=INT", sys.executable]
    command = [*listening, "-m", "ramnet.entry", "events", "-f", "--json"]
    options = ["--host", "a.example", "--denied", "--config", str(machine.config)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            log = machine.log()
            log = EventLog(log.path, max_bytes=1000)
            for number in range(20):
                for name, verdict in (("a.example", "refused"), ("b.example", "refused")):
                    log.write(
                        Event(
                            scope="dockerd",
                            kind="dns",
                            name=f"{number}.{name}",
                            verdict=verdict,  # type: ignore[arg-type]
                        )
                    )
                line = json.loads(following.stdout.readline())
                assert line["name"] == f"{number}.a.example"
        finally:
            following.send_signal(signal.SIGINT)
        assert following.stdout.read() == ""
        assert following.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "code", "names"),
    [
        ([], 0, ["a.example", "b.example", "a.other"]),
        (["--host", "example"], 0, ["a.example", "b.example"]),
        (["--host", "a.*"], 0, ["a.example", "a.other"]),
        (["--verdict", "allowed", "--verdict", "info"], 0, ["a.example", "a.other"]),
        (["--scope", "service"], 0, []),
        (["--scope", "wsl"], 2, []),
        (["--since", "1h"], 0, ["b.example", "a.other"]),
        (["--since", "soon"], 2, []),
    ],
)
def test_events_filters(machine: Machine, options: list[str], code: int, names: list[str]) -> None:
    log = machine.log()
    old = "2020-01-01T00:00:00.000Z"
    log.write(Event(time=old, scope="dockerd", kind="dns", name="a.example", verdict="allowed"))
    log.write(Event(scope="dockerd", kind="dns", name="b.example", verdict="refused"))
    log.write(Event(scope="dockerd", kind="dns", name="a.other", verdict="info"))
    result = machine.run("events", "--json", *options)
    assert result.exit_code == code
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == names


def test_suggest(machine: Machine) -> None:
    log = machine.log()
    log.write(Event(scope="dockerd", kind="tls", name="cdn.example", port=443, verdict="refused"))
    assert machine.run("suggest").exit_code == 0
    redirect = Redirect(by="registry.corp.example")
    log.write(
        Event(
            scope="dockerd", kind="http", name="cdn.example", port=443, verdict="info",
            redirect=redirect,
        )
    )  # fmt: skip
    result = machine.run("suggest")
    assert result.exit_code == 1
    assert "registry.corp.example redirected to cdn.example" in result.stdout
    assert '[[registry]]\n    host = "cdn.example"' in result.stdout
    assert machine.run("suggest", "--since", "2999-01-01").exit_code == 0


def test_events_without_any(machine: Machine) -> None:
    result = machine.run("events")
    assert (result.exit_code, result.output) == (0, "")


def test_rules(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "enforcer_plan", lambda _: {"dockerd": "table inet ramnet\n"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert machine.run("rules").stdout == "# scope dockerd\ntable inet ramnet\n"
    assert json.loads(machine.run("rules", "--json").stdout) == [
        {"scope": "dockerd", "rules": "table inet ramnet\n"}
    ]


@pytest.mark.parametrize(
    "command", [["run"], ["down"], ["rules"], ["ca", "install"], ["ca", "remove"]]
)
def test_what_needs_root_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = machine.run(*command)
    assert result.exit_code == 4
    assert result.stderr.startswith(f"ramnet: ramnet {' '.join(command)}")
    assert "needs root" in result.stderr


def test_policy_validate(machine: Machine, tmp_path: Path) -> None:
    good = machine.run("policy", "validate", str(machine.policy))
    assert good.exit_code in (0, 1)  # remarks are POLICY's own matter
    machine.policy.write_text("versoin = 1\n")
    bad = machine.run("policy", "validate", str(machine.policy))
    assert bad.exit_code == 1
    assert f"{machine.policy}:1: versoin: refused: " in bad.stdout
    document = json.loads(machine.run("policy", "validate", "--json", str(machine.policy)).stdout)
    assert document["valid"] is False
    assert [fault["line"] for fault in document["faults"]] == [1]
    assert machine.run("policy", "validate", str(tmp_path / "none")).exit_code == 1


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf\n", b"\xff", b"{"])
def test_policy_validate_of_what_is_no_document_is_a_document(
    machine: Machine, data: bytes
) -> None:
    machine.policy.write_bytes(data)
    result = machine.run("policy", "validate", "--json", str(machine.policy))
    assert (result.exit_code, json.loads(result.stdout)["valid"]) == (1, False)
    assert len(json.loads(result.stdout)["faults"]) == 1


def test_policy_validate_names_every_planted_fault_with_its_line(
    machine: Machine, tmp_path: Path
) -> None:
    """The file of tests/unit/policy/test_review.py, by the command that an administrator types."""
    policy, before = tmp_path / "policy.toml", tmp_path / "before.toml"
    policy.write_text(PLANTED)
    before.write_text("version = 6\n")
    result = machine.run("policy", "validate", str(policy), "--replaces", str(before))
    assert result.exit_code == 1
    said = result.stdout.splitlines()
    lines = [int(line.removeprefix(f"{policy}:").split(":")[0]) for line in said]
    assert lines == [1, 3, 4, 5, 5, 7, 11, 14, 16, 19, 24]
    assert len(set(lines)) >= 10


def test_policy_validate_of_each_preset_is_clean(machine: Machine, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    for preset in list_presets():
        policy.write_text(f"version = 1\npresets = ['{preset.example}']\n")
        result = machine.run("policy", "validate", str(policy))
        assert result.exit_code == 0, result.stdout


def test_policy_validate_against_the_one_before(machine: Machine, tmp_path: Path) -> None:
    policy = tmp_path / "new.toml"
    policy.write_text('version = 8\npresets = ["ghcr", "gcr"]\n')  # gcr: a note
    command = ["policy", "validate", str(policy), "--replaces", str(machine.policy)]
    assert machine.run(*command).exit_code == 0
    policy.write_text("version = 7\n")
    result = machine.run(*command)
    assert result.exit_code == 1
    assert f"{policy}:1: version: warning (version-not-risen): 7 does not rise" in result.stdout


DOCKER_OBJECT = """{"enabled": %s, "standard_registries": [{"id": "DockerHub", "allowed": false}],
 "custom_registries": [
  {"address": "corp.example", "friendly_name": "b\\u00fcro \\"x\\"", "allowed": true},
  {"address": "*.a.example:5000", "allowed": false}, {"address": "10.0.0.5", "allowed": true}]}"""


def test_policy_import(machine: Machine, tmp_path: Path) -> None:
    source, target = tmp_path / "docker.json", tmp_path / "policy.toml"
    source.write_text(DOCKER_OBJECT % "true")
    options = ["--organization", "acme", "--version", "3"]
    made = machine.run("policy", "import", str(source), "--output", str(target), *options)
    assert (made.exit_code, made.output) == (0, "")
    shown = [machine.run("policy", "show", "--json", str(f)).stdout for f in (source, target)]
    before, after = (json.loads(text) for text in shown)
    assert after["entries"] == before["entries"]
    assert (after["version"], after["organization"], after["docker_hub"]) == (3, "acme", False)
    assert after["contact"] == before["contact"]


def test_policy_import_says_what_it_cannot_keep(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "docker.json"
    source.write_text(DOCKER_OBJECT % "false")
    assert "nothing restricted" in machine.run("policy", "import", str(source)).stderr
    result = machine.run("policy", "import", str(source), "--contact", "two\nlines")
    assert result.exit_code == 1
    assert result.stderr.startswith("ramnet: what you gave:2: contact: must be one line")


def test_policy_show(machine: Machine) -> None:
    shown = machine.run("policy", "show").stdout
    assert "organization  acme" in shown
    assert "allowed       registry.corp.example:5000  # Build registry" in shown
    assert "denied        old.corp.example" in shown
    document = json.loads(machine.run("policy", "show", "--json").stdout)
    assert document["version"] == 7
    assert [entry["allowed"] for entry in document["entries"]] == [True, True, False]


def test_policy_presets(machine: Machine) -> None:
    assert "ghcr.io" in machine.run("policy", "presets").stdout
    presets = json.loads(machine.run("policy", "presets", "--json").stdout)
    assert all(preset["registries"] and preset["usage"] for preset in presets)


def test_ca_show_without_a_ca(machine: Machine) -> None:
    result = machine.run("ca", "show")
    assert result.exit_code == 1
    assert "`ramnet ca install`" in result.stderr


def test_the_unexpected_is_one_line(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(client, "ask", fail)
    result = machine.run("status")
    assert result.exit_code == 1
    assert result.stderr.startswith("ramnet: unexpected ZeroDivisionError: by nothing; ")
    monkeypatch.setenv("RAMNET_DEBUG", "1")
    assert isinstance(machine.run("status").exception, ZeroDivisionError)


def test_every_command_takes_config_and_every_one_with_facts_json() -> None:
    silent = ("run", "hold", "down", "exec", "install", "remove", "import")
    commands = {
        name: command
        for group in (cli.main, cli.ca.ca, cli.policy.policy)
        for name, command in group.commands.items()
        if not hasattr(command, "commands")
    }
    for name, command in commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--config" in options, name
        assert ("--json" in options) == (name not in silent), name


def test_verify_needs_root(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = machine.run("verify")
    assert result.exit_code == 4
    assert "needs root" in result.stderr


def test_no_other_command_loads_scapy() -> None:
    code = "import sys, ramnet.cli; sys.exit('scapy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
