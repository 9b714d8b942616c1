"""`make demo`: the whole way once, with real docker commands, and a table of what came of it.

    python -m tests.lab.demo [--keep | --down | --without-ramnet]

--keep leaves the hosts up and says how to get in; --down takes such a demo down.
--without-ramnet sends the same requests with nothing in their way, to show that the capture sees
them all. Exit status: 0 when everything came out as it should, 1 when not, 2 when it cannot run.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.lab import addresses as at
from tests.lab.capture import Capture, Packets
from tests.lab.demo_cases import ALLOWED, Case, cases
from tests.lab.docker import Docker
from tests.lab.lab import Lab, missing
from tests.lab.processes import LabError, Result
from tests.lab.service import CONTACT, ORGANIZATION, PROGRAM, policy_text

PROXY = "http://127.0.0.1:3128"
PROMPT = 3.0  # seconds within which a refusal has to be there
_PID_FILE = Path(__file__).parents[2] / "build" / "demo.pid"


class Row(NamedTuple):
    """One request that was made."""

    case: Case
    way: str
    result: Result
    packets: Packets

    @property
    def sentence(self) -> str:
        return f"{ORGANIZATION} has disallowed access to {self.case.site.name}. {CONTACT}"

    @property
    def said(self) -> str:
        """The line of docker that has our sentence, or else its last."""
        lines = [line for line in self.result.text.splitlines() if self.sentence in line]
        if self.result.ok and self.result.out.strip():
            lines = self.result.out.strip().splitlines()
        return (lines or [self.result.last_line])[-1].strip()

    def faults(self) -> list[str]:
        """What is not as it should be, in words."""
        if self.case.allowed:
            return [] if self.result.ok else [f"failed: {self.result.text.strip()}"]
        found = []
        if self.result.ok:
            found.append("docker succeeded")
        if self.packets:
            found.append(f"{len(self.packets)} packets left the uplink: {self.packets}")
        if self.result.seconds > PROMPT:
            found.append(f"refused only after {self.result.seconds:.1f} s")
        if self.case.words and self.sentence not in self.result.text:
            found.append("docker does not show who refused and what to do")
        return found


class Demo:
    """One run of the demo."""

    def __init__(self, console: Console, *, enforce: bool) -> None:
        self._console = console
        self._enforce = enforce
        self.rows: list[Row] = []
        self.forbidden = 0

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what is being done, and afterwards how long it took."""
        began = time.monotonic()
        self._console.print(f"[dim]·[/] {text} ...", end=" ")
        yield
        self._console.print(f"[dim]{time.monotonic() - began:.1f} s[/]")

    def run(self, lab: Lab) -> None:
        """Start ramnet and two dockerd, ask everything, and fill `rows`."""
        if self._enforce:
            self._start_ramnet(lab)
        with lab.capture() as capture:
            with self.step("starting dockerd"):
                lab.docker.start()
            self._ask(lab.docker, "transparent", capture)
            if self._enforce:
                second = lab.second_docker("proxied")
                with self.step(f"starting a second dockerd with HTTPS_PROXY={PROXY}"):
                    second.start(environment={"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY})
                self._ask(second, "explicit", capture)
            sent = capture.settle()
        allowed = sent.forbidden(ALLOWED, ports=(80, 443)).to_site(*ALLOWED)
        others = sent.forbidden((*ALLOWED, at.RESOLVER), ports=(53, 80, 443))
        self.forbidden = len(allowed) + len(others)

    def _start_ramnet(self, lab: Lab) -> None:
        with self.step("starting ramnet and trusting its boot-time CA"):
            lab.ramnet.start(policy_text(*(site.name for site in ALLOWED)))
            lab.ramnet.command("ca", "install").check()

    def _ask(self, docker: Docker, way: str, capture: Capture) -> None:
        with self.step(f"asking docker, {way} way"):
            for case in cases(explicit=way == "explicit"):
                before = len(capture.settle())
                result = case.ask(docker)
                sent = capture.settle().since(before).sent_by_vm()
                self.rows.append(Row(case, way, result, sent.about(case.site)))

    def tables(self) -> Iterator[Table]:
        """The requests and what came of each, one table for each way."""
        for way in dict.fromkeys(row.way for row in self.rows):
            table = Table(title=f"{way} way", title_justify="left", box=SIMPLE, pad_edge=False)
            table.add_column("what was asked", no_wrap=True)
            table.add_column("what docker said", overflow="fold")
            table.add_column("seconds", justify="right")
            table.add_column("packets that left", justify="right")
            for row in self.rows:
                if row.way == way:
                    self._add(table, row)
            yield table

    def _add(self, table: Table, row: Row) -> None:
        style = "red" if self._enforce and row.faults() else ""
        seconds = f"{row.result.seconds:.1f}"
        table.add_row(row.case.asked, escape(row.said), seconds, str(len(row.packets)), style=style)

    def verdict(self) -> bool:
        """Print what is wrong, or that nothing is; return whether all is as it should be."""
        if not self._enforce:
            seen = sum(1 for row in self.rows if row.result.ok and row.packets)
            self._console.print(
                f"without ramnet: {seen} of {len(self.rows)} succeeded and were seen"
            )
            return seen == len(self.rows)
        faulty = [row for row in self.rows if row.faults()]
        for row in faulty:
            for fault in row.faults():
                self._console.print(f"[red]{row.case.asked}, {row.way}:[/] {escape(fault)}")
        good = not faulty and not self.forbidden
        self._console.print(
            f"[bold {'green' if good else 'red'}]{'ok' if good else 'FAILED'}[/]: "
            f"{len(self.rows) - len(faulty)} of {len(self.rows)} requests came out as they should; "
            f"{self.forbidden} forbidden packets on the uplink"
        )
        return good


def _wait_to_be_ended(console: Console, lab: Lab) -> None:
    """Say how to get in, and wait for Ctrl-C or `make demo-down`."""
    _PID_FILE.parent.mkdir(exist_ok=True)
    _PID_FILE.write_text(str(os.getpid()))
    enter = " ".join(lab.vm.enter_command)
    console.print(
        f"\nThe hosts are up. Get into the vm:  {enter} bash\n"
        f"  docker pull {at.REGISTRY_BLOCKED.name}/{at.IMAGE}    {PROGRAM} status\n"
        f"Logs: {lab.directory}\nTake it down: Ctrl-C here, or `make demo-down`",
        soft_wrap=True,
        markup=False,
    )
    with suppress(KeyboardInterrupt):
        while True:
            signal.pause()
    _PID_FILE.unlink()


def _take_down() -> int:
    """End a demo that was kept, and wait while its process takes everything down."""
    try:
        pid = int(_PID_FILE.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        command = b""
    if b"tests.lab.demo" not in command:
        print("no demo is up")
        return 0
    with os.fdopen(os.pidfd_open(pid)) as process:
        os.kill(pid, signal.SIGTERM)
        select.select([process], [], [])
    return 0


def _demonstrate(console: Console, *, enforce: bool, keep: bool) -> int:
    began = time.monotonic()
    demo = Demo(console, enforce=enforce)
    with demo.step("building the hosts: vm, inet with registries, DNS and web servers"):
        lab = Lab.create()
    with lab:
        demo.run(lab)
        console.print()
        console.print(*demo.tables(), sep="\n")
        good = demo.verdict()
        console.print(f"[dim]{time.monotonic() - began:.0f} s in all[/]")
        if keep:
            _wait_to_be_ended(console, lab)
    return 0 if good else 1


def main(arguments: list[str]) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    for option in ("--keep", "--down", "--without-ramnet"):
        choice.add_argument(option, action="store_true")
    chosen = parser.parse_args(arguments)
    if chosen.down:
        return _take_down()
    if lacks := missing():
        print(f"the demo needs {', '.join(lacks)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    with suppress(KeyboardInterrupt):
        try:
            return _demonstrate(console, enforce=not chosen.without_ramnet, keep=chosen.keep)
        except LabError as error:
            console.print(f"\n[red]the demo cannot go on:[/] {escape(str(error))}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
