"""A case under watch: probers at work, the uplink captured, harm timed, and what came of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.lab import Capture, Lab, Packet, Packets, Process, Result, policy_text
from tests.lab import addresses as at
from tests.lab.host import Host
from tests.lab.processes import LabError, wait_until
from tests.leaks import probes
from tests.leaks.ways import Way

ALLOWED = (at.FILES_ALLOWED, at.CDN, at.REGISTRY_ALLOWED, at.LOGIN_ALLOWED, at.REDIRECT_ALLOWED)
POLICY = policy_text(*(site.name for site in ALLOWED))
_BLOCKED_NAMES = (at.REGISTRY_BLOCKED.name, at.FILES_BLOCKED.name)
_ICMP_ERRORS = {"icmp": {3, 11, 12}, "icmpv6": {1, 2, 3, 4}}
#: Bystanders that depend on no process of ours. Connections that a scope makes to what is near go
#: through the gate: they wait for a new one, and fail when the supervisor's sockets are gone.
OUTSIDE = ("inbound", "published")
EVERYBODY = (*OUTSIDE, "loopback", "published inside")
_PYTHON = ["/usr/bin/python3", "-I", "-S"]
PROBER = __file__.replace("harness.py", "prober.py")


@dataclass
class Row:
    """One line of the table at the end."""

    case: str
    way: str
    probes: int = 0
    forbidden: int | None = None
    health: float | None = None
    bystanders: str = ""
    note: str = ""


def forbidden_among(packets: Packets) -> Packets:
    """What left and must not have.

    Permitted are TCP to the policy's sites, questions for their names to the vm's resolver, what
    answers the outside (a service's replies, ICMP errors to whom we may talk to, a kernel's bare
    RST), and the housekeeping of the link; never anything in which a blocked name stands.
    """
    return packets.sent_by_vm().without_housekeeping().where(lambda packet: not _permitted(packet))


_SITES = {address for site in ALLOWED for address in site.addresses}
_SERVERS = set(at.RESOLVER.addresses)
#: Who connects to the vm; inet has all of these on its uplink.
CLIENTS = {at.INET_IPV4, at.INET_IPV6, *_SERVERS}
_NAMES = {site.name for site in ALLOWED}


def _permitted(packet: Packet) -> bool:
    if any(packet.mentions(name) for name in _BLOCKED_NAMES):
        return False
    if packet.protocol == "tcp":
        if packet.is_bare_reset:
            return True
        served = packet.ports[0] in (probes.LOCAL_PORT, probes.PUBLISHED_PORT)
        return (
            packet.destination in _SITES
            or (packet.destination in _SERVERS and packet.ports[1] == 53)
            or (packet.destination in CLIENTS and served and packet.tcp_flags != "S")
        )
    if packet.icmp_type in _ICMP_ERRORS.get(packet.protocol, ()):
        return packet.destination in _SITES | _SERVERS | CLIENTS
    return packet.destination in _SERVERS and packet.dns_name in _NAMES


Ends = tuple[str, str, tuple[int, int]]


def _ends(packet: Packet) -> Ends:
    return packet.source, packet.destination, packet.ports


def another_gate(old: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a status names a gate, and not this one."""
    return lambda status: status["scopes"][0]["gate_pid"] not in (None, old)


def another_supervisor(old: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a status comes from another supervisor than this one."""
    return lambda status: bool(status["supervisor"]["pid"] != old)


@dataclass
class Outcome:
    """What one prober said at its end.

    Attributes:
        ends: how often each probe ended how.
        samples: begin and success of every steady probe.
        reached: forbidden probes that the far end answered, and when they began.
        flows: answers, tries and breaks of each kept connection.
        skipped: how often none was made because too many were under way.
        untried: forbidden probes that never had their turn.
    """

    ends: dict[str, dict[str, int]]
    samples: dict[str, list[tuple[float, bool]]]
    reached: list[tuple[float, str]]
    flows: dict[str, dict[str, Any]]
    skipped: int
    untried: int

    @property
    def made(self) -> int:
        tries = sum(sum(ends.values()) for ends in self.ends.values())
        return tries + sum(int(flow["tries"]) for flow in self.flows.values())


class Prober:
    """prober.py at work in a host."""

    def __init__(
        self, host: Host, name: str, plan: dict[str, Any], enter: Sequence[str] = ()
    ) -> None:
        path = f"/run/leaks/{name}.json"
        host.write(path, json.dumps(plan))
        self._process: Process = host.start([*enter, *_PYTHON, PROBER, path], log=name)
        wait_until(f"{name} ready", lambda: self._process.log().startswith("ready\n"), 60)

    def stop(self) -> Outcome:
        """End it and read what it made."""
        self._process.send(signal.SIGTERM)
        if self._process.wait(60):
            raise LabError(f"the prober failed: {self._process.tail()}")
        return Outcome(**json.loads(self._process.log().splitlines()[-1]))

    def kill(self) -> None:
        """End it, where that has not happened yet; what it made is lost."""
        self._process.send(signal.SIGKILL)


@dataclass
class Watch:
    """One case while it goes on.

    Attributes:
        promised: bystanders that must never fail in this case.
        enter: a command prefix that puts a program into the scope.
        permitted: sites that the policy's names lead to in this case, by the upstream's word.
        harmed: when harm was done, by `harm`, and when health was seen after it.
        escaped: connections that got out in a measured window; they may end, saying nothing.
    """

    lab: Lab
    row: Row
    capture: Capture
    promised: tuple[str, ...]
    enter: tuple[str, ...] = ()
    permitted: tuple[at.Site, ...] = ()
    harmed: list[list[float]] = field(default_factory=list)
    flows: dict[str, dict[str, Any]] = field(default_factory=dict)
    escaped: set[Ends] = field(default_factory=set)
    _from: int = 0
    _since: float = 0

    def count_from_here(self) -> None:
        """What left before does not count: there were no rules yet."""
        self._from = len(self.capture.settle())
        self._since = time.monotonic()

    def harm(self) -> None:
        """Take the time: harm is done now."""
        self.harmed.append([time.monotonic()])

    def healthy(
        self, when: Callable[[dict[str, Any]], bool] = lambda _: True, seconds: float = 30
    ) -> None:
        """Wait until the status is enforcing and as `when` has it, and an allowed fetch works.

        A fetch that began while rules were away goes past the gate, and is cut when they are back.
        """
        ramnet = self.lab.ramnet
        ramnet.wait_status(lambda status: status["state"] == "enforcing" and when(status), seconds)
        wait_until("an allowed fetch", lambda: self._fetched().ok, seconds)
        self.well()

    def well(self) -> None:
        """Take the time: what the last harm did is over."""
        if self.harmed:
            self.harmed[-1].append(time.monotonic())

    def fetch(self) -> None:
        """An allowed fetch by name, as a program does it, works now."""
        got = self._fetched()
        assert got.ok, got.text

    def _fetched(self) -> Result:
        url = f"https://{at.FILES_ALLOWED.name}/hello.txt"
        return self.run(["curl", "--silent", "--show-error", "--max-time", "20", url])

    def run(self, argv: Sequence[str]) -> Result:
        """Run a program of the vm inside the scope."""
        return self.lab.vm.run([*self.enter, *argv])

    def measured(self) -> float:
        """Seconds from the first packet out since the last count to the last one; then count anew.

        For a window that cannot be prevented. In tier anyip, which knows no connections, those
        that were opened in it may end after it.
        """
        left = self.sent()
        if self.row.way.startswith("anyip"):
            self.escaped |= {_ends(packet) for packet in left if packet.protocol == "tcp"}
        times = [packet.time for packet in left]
        self.count_from_here()
        return max(times) - min(times) if times else 0.0

    def sent(self) -> Packets:
        """What must not have left, so far."""
        left = forbidden_among(self.capture.settle().since(self._from)).where(
            lambda packet: (
                _ends(packet) not in self.escaped or bool(packet.payload) or "S" in packet.tcp_flags
            )
        )
        addresses = {address for site in self.permitted for address in site.addresses}
        return left.where(
            lambda packet: (
                packet.destination not in addresses
                or packet.protocol != "tcp"
                or any(packet.mentions(name) for name in _BLOCKED_NAMES)
            )
        )

    def _finish(self, inside: Outcome, outside: Outcome) -> None:
        row, samples = self.row, inside.samples | outside.samples
        row.probes = inside.made
        row.health = _slowest(samples.get("allowed", []), self.harmed)
        ends = inside.ends | outside.ends
        rates = {name: _rate(found) for name, found in samples.items() if name != "allowed"}
        row.bystanders = " ".join(f"{name} {rate:.0%}" for name, rate in rates.items())
        self.flows = inside.flows
        sent = self.sent()
        row.forbidden = len(sent)
        reached = [where for began, where in inside.reached if began > self._since]
        assert not sent, f"{len(sent)} packets left:\n{Packets(sent[:40])}"
        assert not reached, f"packets left and were answered: {reached}"
        assert not inside.untried, inside
        for name in self.promised:
            said = f"{name} failed: {failures(samples[name])}" if rates.get(name, 1.0) < 1 else ""
            assert not said, f"{said}; {ends[name]}"


def failures(samples: list[tuple[float, bool]]) -> str:
    """How many failed, and between when, in seconds from the first one made."""
    failed = [began for began, ok in samples if not ok]
    start = samples[0][0]
    return f"{len(failed)} of {len(samples)}, {failed[0] - start:.2f}..{failed[-1] - start:.2f} s"


def _rate(found: list[tuple[float, bool]]) -> float:
    return sum(ok for _, ok in found) / len(found)


def _slowest(samples: list[tuple[float, bool]], harmed: list[list[float]]) -> float | None:
    """The longest time from harm to the first fetch that worked for good."""
    slowest = None
    for began, *ended in harmed:
        until = ended[0] if ended else float("inf")
        during = [(at_, ok) for at_, ok in samples if began <= at_ <= until]
        failed = [at_ for at_, ok in during if not ok]
        well = [at_ for at_, ok in during if ok and at_ > max(failed, default=0)]
        took = (well[0] if well else until) - began if failed else 0.0
        slowest = max(slowest or 0.0, took)
    return slowest


class Harness:
    """Makes watches for one way; keeps the rows of all."""

    def __init__(self, lab: Lab, way: Way, rows: list[Row], published: bool) -> None:
        self.lab, self.way, self.rows, self.published = lab, way, rows, published

    @contextmanager
    def watch(
        self,
        case: str,
        *,
        promised: Sequence[str] = EVERYBODY,
        permitted: Sequence[at.Site] = (),
        old: bool = False,
    ) -> Iterator[Watch]:
        """Probers at work from the begin of the block to its end; asserts what a case promises.

        `old` adds connections that are made now, for a case that begins without rules.
        """
        row = Row(case, self.way.name)
        self.rows.append(row)
        flows = [probes.flow(), *(probes.old() if old else [])]
        within = [*probes.forbidden(), *probes.allowed(), *self._of(probes.bystanders_inside())]
        without = self._of(probes.bystanders_outside())
        name = f"prober-{len(self.rows)}"
        with self.lab.capture() as capture:
            plan = probes.plan(within, flows)
            inside = Prober(self.lab.vm, name, plan, self.way.enter)
            outside = Prober(self.lab.inet, name, probes.plan(without, tick=0.02))
            watch = Watch(self.lab, row, capture, tuple(promised), self.way.enter)
            watch.permitted = tuple(permitted)
            try:
                yield watch
                ends = inside.stop(), outside.stop()
                watch._finish(*ends)
            except BaseException as error:
                error.add_note(f"the service said last:\n{self.lab.ramnet.log_tail()}")
                raise
            finally:
                inside.kill()
                outside.kill()

    def _of(self, made: list[probes.Probe]) -> list[probes.Probe]:
        return made if self.published else [p for p in made if "published" not in p["name"]]


def table(rows: list[Row]) -> list[str]:
    """The table at the end: what each case made, leaked and took."""
    head = ("case", "way", "probes", "forbidden", "health s", "bystanders", "note")
    cells = [head, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _cells(row: Row) -> tuple[str, ...]:
    forbidden = "?" if row.forbidden is None else str(row.forbidden)
    health = "-" if row.health is None else f"{row.health:.2f}"
    return row.case, row.way, str(row.probes), forbidden, health, row.bystanders, row.note
