"""``ramnet caveats`` held against what this machine is: its kernel, its nftables, its Docker.

The tests of the house (tests/system/test_caveats.py) have one kernel, one nftables and one Docker;
the machines that are booted here have others, and none of them is substituted.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, Final

import facts
from report import need, run, say

_DAEMON_JSON: Final = Path("/etc/docker/daemon.json")
_DNS_SHARED_SINCE: Final = 28
_PERSIST_SINCE: Final = (6, 9), (1, 1)
"""Of Linux, and of libnftables."""


def told() -> dict[str, dict[str, Any]]:
    """What ``ramnet caveats`` says, by code."""
    done = run("ramnet", "caveats", "--json")
    need(done.code == 0, done.text)
    reports, _ = json.JSONDecoder().raw_decode(done.text)  # what went to stderr comes after it
    return {report["code"]: report for report in reports}


def _need(report: dict[str, Any], state: str, *words: str) -> None:
    said = f"{report['code']}: {report['state']}, not {state}: {report['evidence']}"
    need(report["state"] == state, said)
    for word in words:
        need(any(word in line for line in report["evidence"]), f"{word!r} is not said: {said}")


def of_the_kernel() -> None:
    """Its name, and what it and libnftables can do."""
    found, release = told(), os.uname().release
    (scope,) = facts.status()["scopes"]
    missing = scope["missing_capabilities"]
    kernel, library = _version(release), _version(_package("libnftables1"))
    capable = kernel >= _PERSIST_SINCE[0] and library >= _PERSIST_SINCE[1]
    need(("persist" not in missing) is capable, f"{release}, {library}: {missing}")
    _need(found["kernel-capabilities"], "active" if missing else "absent", *missing)
    named = "microsoft" in release.lower()
    _need(found["windows-containers"], "active" if named else "absent", release)
    say("note", "missing-capabilities", ", ".join(missing) or "none")


def _package(name: str) -> str:
    return run("dpkg-query", "--show", "--showformat=${Version}", name).text


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    need(found is not None, text)
    assert found is not None
    return int(found[1]), int(found[2])


def take_dns_away() -> None:
    """With ``dns`` in daemon.json containers ask by themselves, whichever Docker it is.

    From the next start of dockerd on it has none.
    """
    _need(told()["embedded-dns-shared"], "absent")
    configuration = json.loads(_DAEMON_JSON.read_text())
    need(bool(configuration.pop("dns", None)), "the image names no resolver for containers")
    _DAEMON_JSON.write_text(json.dumps(configuration))


def of_dockers_dns() -> None:
    """Without it, it is as this Docker's version has it."""
    version = run("docker", "version", "--format", "{{.Server.Version}}").text.strip()
    shared = _version(version)[0] >= _DNS_SHARED_SINCE
    report = told()["embedded-dns-shared"]
    _need(report, "active" if shared else "absent", *([f"dockerd {version}"] if shared else []))
