"""What the gate's events look like in a real journal, and how much is shown."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramnet import journal
from ramnet.audit import Event
from ramnet.daemon.client import ask
from ramnet.errors import RamnetError

from .conftest import Bench

JOURNALD = Path("/lib/systemd/systemd-journald")
AS_SYSTEMD_SAYS = """
import os
stderr = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{stderr.st_dev}:{stderr.st_ino}"
"""
WRITE = """
from ramnet.audit import Event
from ramnet.journal import Journal
journal = Journal()
event = Event(scope="dockerd", kind="tls", verdict="refused", name="quay.io", port=443,
              reason="no entry\\nRAMNET_VERDICT=allowed")
journal.write(event)
journal.level = "debug"
journal.write(event)
"""
SCENE = """
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/journal /run/log/journal
"$1" & until test -S /run/systemd/journal/stdout; do sleep 0.02; done
systemd-cat "$2" -c "$3"
journalctl --sync >&2
journalctl --output=json --no-pager RAMNET_NAME=quay.io
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a journal of the test's own")
@pytest.mark.skipif(
    not JOURNALD.exists() or not shutil.which("systemd-cat"), reason="needs systemd-journald"
)
def test_a_decision_is_found_by_its_fields() -> None:
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", SCENE,
         "sh", JOURNALD, sys.executable, AS_SYSTEMD_SAYS + WRITE],
        capture_output=True, text=True, check=True, timeout=50,
    )  # fmt: skip
    (line,) = done.stdout.splitlines()  # once: at level info nothing was written
    found = json.loads(line)
    assert found["RAMNET_SCOPE"] == "dockerd"
    assert found["RAMNET_VERDICT"] == "refused"
    assert found["RAMNET_PORT"] == "443"
    assert found["RAMNET_REASON"] == "no entry\nRAMNET_VERDICT=allowed"
    assert found["PRIORITY"] == "5"
    assert found["SYSLOG_IDENTIFIER"] == "ramnet"
    assert found["MESSAGE"].startswith("dockerd    refused tls      quay.io:443")


@given(st.text(), st.text())
def test_a_client_s_words_make_no_field(name: str, reason: str) -> None:
    event = Event(scope="s", kind="tls", verdict="refused", name=name, reason=reason)
    data, keys = journal.message(event), []
    while data:
        key, _, rest = data.partition(b"\n")
        size = int.from_bytes(rest[:8], "little")
        assert rest[8 + size : 9 + size] == b"\n"
        keys.append(key.decode())
        data = rest[9 + size :]
    fields = ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "RAMNET_SCOPE", "RAMNET_KIND"]
    assert keys == [*fields, "RAMNET_NAME", "RAMNET_VERDICT", "RAMNET_REASON"]


def test_without_a_journal_it_goes_to_stderr_and_waits_for_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", WRITE], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == (
        "ramnet: dockerd    refused tls      quay.io:443  no entry?RAMNET_VERDICT=allowed\n"
    )
    many = WRITE + "for _ in range(3000): journal.write(event)\n"  # more than a pipe holds
    reading, writing = os.pipe()
    try:
        subprocess.run([sys.executable, "-c", many], stderr=writing, check=True, timeout=50)
    finally:
        os.close(reading)
        os.close(writing)


def test_the_level_reaches_the_gate_and_its_successor(bench: Bench) -> None:
    run = bench.start()
    run.wait_for("enforcing")
    assert bench.ask_gate()["log_level"] == "info"
    order = json.dumps({"level": "debug"}).encode()
    assert ask(bench.control, "POST", "/v1/log-level", order) == {"level": "debug"}
    run.wait_for("log level debug")
    first = bench.ask_gate()
    os.kill(first["pid"], 9)
    run.wait_for("everything is refused until it is back")
    run.wait_for("enforcing")
    second = bench.ask_gate()
    assert second["pid"] != first["pid"]
    assert (first["log_level"], second["log_level"]) == ("debug", "debug")
    assert ask(bench.control, "GET", "/v1/status")["log_level"] == "debug"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"level": "loud"}', b'{"level": "info", "x": 1}'])
def test_a_level_that_there_is_not_changes_nothing(bench: Bench, body: bytes) -> None:
    bench.start().wait_for("enforcing")
    with pytest.raises(RamnetError, match="the log level is info or debug"):
        ask(bench.control, "POST", "/v1/log-level", body)
    assert ask(bench.control, "GET", "/v1/status")["log_level"] == "info"
