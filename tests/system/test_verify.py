"""``ramnet verify``: it passes in every tier, and with each rule gone it fails and says which
promise is no longer kept; by a probe where the rule has behaviour of its own, by the listing where
another rule covers for it.

The replica is the lab here: its supervisor is stopped, so that nobody mends what is taken out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ramnet.config import Scope
from ramnet.kernel.cgroup import cgroup2_mount
from ramnet.kernel.nft import Nft
from ramnet.kernel.probe import WITHOUT
from ramnet.ruleset import promises
from ramnet.ruleset.differences import chains_in, compare, rules_in, tables_in
from ramnet.ruleset.purposes import promise_of
from ramnet.verify import listing
from ramnet.verify.capture import Capture
from ramnet.verify.probe import Probe
from ramnet.verify.probes import every_probe
from ramnet.verify.replica import Replica
from ramnet.verify.report import Outcome, Verdict
from ramnet.verify.walk import Walk
from tests.lab import Docker, Lab, Ramnet
from tests.lab.processes import wait_until
from tests.lab.service import CONFIG, PROGRAM
from tests.system.conftest import POLICY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")

TIERS = {
    "redirect": ("", None),
    "anyip": ("nat_redirect", None),
    "cgroup2": ("", "ramnet.slice"),
    "net_cls": ("socket_cgroupv2", "ramnet.slice"),
}
_ALLOWED, _REFUSED = "http, allowed name, IPv4", "http, refused name, IPv4"
#: Rules with behaviour of their own, by tier and chain, and the probe that misses it.
SHOWN: dict[str, tuple[tuple[str, str, str], ...]] = {
    "redirect": (
        ("to_gate", r"meta skuid 60927.* accept", _ALLOWED),
        ("to_gate", r"udp dport 53 .*", "dns udp, IPv4"),
        ("to_gate", r"tcp dport 53 .*", "dns tcp, IPv4"),
        ("to_gate", r"ip daddr 240.*", "http, sinkhole, IPv4"),
        ("to_gate", r"ip6 daddr 100.*", "http, sinkhole, IPv6"),
        ("to_gate", r"oifname \"lo\" .*", "a closed port of loopback, IPv4"),
        ("to_gate", r".* 853 accept", "dns over tls, IPv4"),
        ("to_gate", r"meta l4proto tcp redirect.*", _REFUSED),
        ("output", r"meta skuid 60927( socket \S+ level \d+ \S+)? goto gate", _ALLOWED),
        ("output", r"ct mark 0x52414d43 oifname.*", "tcp in mid-stream, IPv4"),
        ("output", r"ct direction reply goto replies", "inbound tcp, IPv4"),
        ("replies", r"ct mark 0x52414d4c .*", "an answer to ourselves, stream, IPv6"),
        ("replies", r"accept", "inbound tcp, IPv4"),
        ("gate", r"goto owned", _ALLOWED),
        ("owned", r"accept", _ALLOWED),
        ("redirected", r"ct mark 0x0 .*", "an answer to ourselves, stream, IPv6"),
        ("output", r"ct status dnat goto redirected", _REFUSED),
        ("output", r"oifname \"lo\" ct direction.*", "an answer to ourselves, dgram, IPv6"),
        ("output", r"oifname \"lo\" accept", "udp to loopback, IPv4"),
        ("output", r".* igmp accept", "igmp, IPv4"),
        ("output", r".*udp sport 68.*", "dhcp, IPv4"),
        ("output", r"udp dport 4789 meta skuid.*", "udp 4789, IPv4"),
        ("output", r"goto refuse", "udp 123, IPv4"),
        ("redirected", r"ip daddr 127.0.0.1 tcp.*", _REFUSED),
        ("redirected", r"ip daddr 127.0.0.1 udp.*", "dns udp, IPv4"),
        ("redirected", r"ip6 daddr ::1 tcp.*", "http, refused name, IPv6"),
        ("redirected", r"ip6 daddr ::1 udp.*", "dns udp, IPv6"),
        ("refuse", r"ct mark 0x0 .*", "a refusal that goes elsewhere, IPv6"),
        ("refuse", r"meta l4proto tcp .*", "dns over tls, IPv4"),
        ("refuse", r"meta l4proto udp .*", "udp 123, IPv4"),
        ("refuse", r"counter reject.*", "gre, IPv4"),
        ("input", r"tcp flags.*", "tcp in mid-stream, IPv4"),
        ("input", r"iif != .*", "udp to an ephemeral port, IPv4"),
        ("leaving", r"oif 1 accept", "udp to loopback, IPv4"),
        ("leaving", r"ip daddr 127.*", "tcp, bound to the uplink, IPv4"),
        ("leaving", r"meta nfproto ipv6 .*", "tcp, bound to the uplink, IPv6"),
        ("leaving6", r"ip6 daddr ::1 .*", "tcp, bound to the uplink, IPv6"),
    ),
    "anyip": (
        ("steer", r"meta skuid 60927.* accept", _ALLOWED),
        ("steer", r"ip daddr 240.*", "http, sinkhole, IPv4"),
        ("steer", r"ip6 daddr 100.*", "http, sinkhole, IPv6"),
        ("steer", r"oifname \"lo\" .*udp dport 53.*", "dns to loopback, IPv4"),
        ("steer", r"oifname \"lo\" .*tcp dport 53.*", "dns to loopback, tcp, IPv4"),
        ("steer", r"udp dport 53 .*", "dns udp, IPv4"),
        ("steer", r"tcp dport .*", _REFUSED),
        ("output", r"meta skuid 60927( socket \S+ level \d+ \S+)? accept", _ALLOWED),
        ("output", r"oifname != \"lo\" meta mark.* drop", "a refusal that goes elsewhere, IPv6"),
        ("output", r"meta mark 0x52414d47 accept", _REFUSED),
        ("output", r"oifname \"lo\" accept", "udp to loopback, IPv4"),
        ("output", r"meta mark 0x2000 meta l4proto tcp accept", "inbound tcp, IPv4"),
        ("output", r"udp sport != .*", "inbound udp, IPv4"),
        ("output", r".* igmp accept", "igmp, IPv4"),
        ("output", r".*udp sport 68.*", "dhcp, IPv4"),
        ("output", r"meta l4proto udp meta skuid.*", "udp 4789, IPv4"),
        ("output", r"goto refuse", "gre, IPv4"),
        ("refuse", r"meta mark set .*", "a refusal that goes elsewhere, IPv6"),
        ("refuse", r"meta l4proto tcp .*", "dns over tls, IPv4"),
        ("refuse", r"meta l4proto udp .*", "udp 123, IPv4"),
        ("refuse", r"counter reject.*", "gre, IPv4"),
        ("arriving", r"meta mark set .*", "inbound tcp, IPv4"),
        ("marked", r".*\"ramnet0\".*", _REFUSED),
    ),
    "cgroup2": (
        ("members_to_gate", r"udp dport 53 .*", "dns udp, IPv4"),
        ("members_to_gate", r"meta l4proto tcp redirect.*", _REFUSED),
        ("output", r"socket .* goto members", "udp 123, IPv4"),
        ("members", r"goto cut", "udp 123, IPv4"),
        ("refuse", r"ct mark 0x0 .*", "a refusal that goes elsewhere, IPv6"),
        ("translated", r"ip daddr 127.0.0.1 tcp.*", "tcp, bound to the uplink, IPv4"),
    ),
}  # fmt: skip
SHOWN["net_cls"] = tuple(
    (chain, rule.replace("socket", "meta cgroup"), probe) for chain, rule, probe in SHOWN["cgroup2"]
)


@dataclass
class Bench:
    """A replica in force, and the means to take rules out of it and put them back."""

    tier: str
    replica: Replica
    walk: Walk
    probes: dict[str, Probe]
    planned: str
    nft: Nft

    def listed(self) -> dict[tuple[str, str], str | None]:
        """As the examination has it: interfaces by number."""
        found: dict[tuple[str, str], str | None] = {}
        for family, name in self.tables:
            text = self.replica.bench.scope.call(self.nft.chains, name, family)
            found[family, name] = text and text.replace('oif "lo"', "oif 1")
        return found

    @property
    def tables(self) -> list[tuple[str, str]]:
        return list(tables_in(self.planned))

    def apply(self, text: str) -> None:
        self.replica.bench.scope.call(self.nft.apply, text)

    def without(self, table: tuple[str, str], chain: str, position: int) -> None:
        family, name = table
        handle = self.replica.bench.scope.call(self.nft.handles, name, family)[chain][position]
        self.apply(f"delete rule {family} {name} {chain} handle {handle}\n")

    def try_(self, probe: str) -> Outcome:
        return self.walk.walk(self.probes[probe])


@pytest.fixture(scope="module", params=TIERS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    tier = str(request.param)
    without, cgroup = TIERS[tier]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(WITHOUT, ",".join(filter(None, (without, "owner,persist"))))
        replica = Replica(Scope(name="vm", cgroup=cgroup))
        try:
            walk = Walk("vm", replica.place, replica.capture)
            probes = {probe.name: probe for probe in every_probe(replica.place)}
            walk.try_bare(probes.values())
            replica.enforce()
            nft = replica.bench.scope.call(Nft)
            planned = replica.examine().planned.text
            yield Bench(tier, replica, walk, probes, planned, nft)
            nft.close()
        finally:
            replica.close()


def test_all_of_it_is_held(bench: Bench) -> None:
    found = bench.replica.examine()
    assert found.means == (bench.tier if bench.replica.place.member else "namespace")
    walked = map(bench.walk.walk, bench.probes.values())
    outcomes = [*listing.read(found), bench.walk.see(), *walked]
    wrong = [o for o in outcomes if o.verdict in (Verdict.LEAKED, Verdict.BROKEN)]
    assert wrong == []
    held = {outcome.promise for outcome in outcomes if outcome.verdict is Verdict.HELD}
    untried = {promises.OLD, promises.LINK} if bench.replica.place.member else set()
    assert held | untried | {promises.PROMPT} == set(promises.ALL)


def test_each_rule_that_is_gone_is_missed(bench: Bench) -> None:
    bench.replica.place.inside.patience = 0.5
    unused, unnoticed = set(SHOWN[bench.tier]), []
    for table, body in tables_in(bench.planned).items():
        for chain, lines in chains_in(body).items():
            for position, rule in enumerate(rules_in(lines)):
                bench.without(table, chain, position)
                found = compare(bench.planned, bench.listed())
                assert [(f.what, f.text) for f in found] == [("missing", rule)]
                assert found[0].promise == promise_of(chain, rule)
                for shown in SHOWN[bench.tier]:
                    if shown[0] == chain and re.fullmatch(shown[1], rule):
                        unused.discard(shown)
                        if bench.try_(shown[2]).verdict not in (Verdict.LEAKED, Verdict.BROKEN):
                            unnoticed.append((chain, rule, shown[2]))
                bench.apply(bench.planned)
    assert (unused, unnoticed) == (set(), [])
    assert compare(bench.planned, bench.listed()) == []
    bench.replica.place.inside.patience = None


def test_a_blind_capture_proves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Capture, "_packet", lambda *_: None)
    walk = Walk("vm", bench.replica.place, bench.replica.capture)
    walk.try_bare(())
    assert walk.see().verdict is Verdict.BROKEN
    assert walk.walk(bench.probes["quic, IPv4"]).verdict is Verdict.NOT_TESTED


@pytest.fixture
def anybodys(ramnet: Ramnet) -> Iterator[Ramnet]:
    """The service, enforcing; its tables may be changed by others."""
    ramnet.without = "owner,persist"
    ramnet.start(POLICY)
    yield ramnet
    if ramnet.process is not None:
        ramnet.process.go_on()
    ramnet.without = ""


def _leaked(text: str) -> list[tuple[str, str]]:
    return [(o["promise"], o["probe"]) for o in json.loads(text) if o["verdict"] == "leaked"]


@pytest.mark.lab
def test_the_command(lab: Lab, docker: Docker, anybodys: Ramnet) -> None:
    """With the service's supervisor stopped a rule is taken out of the machine's own table.

    dockerd's bridge is there: a set of near networks that is not empty.
    """
    for options in ((), ("--live",)):
        got = anybodys.command("verify", *options, seconds=60)
        assert (got.code, "leaked" in got.out) == (0, False), got.text
    anybodys.signal(anybodys.supervisor_pid(), "STOP")
    listed = lab.vm.run(["nft", "-a", "list chain inet ramnet leaving"]).check().out
    rule = next(line for line in listed.splitlines() if "127.0.0.0/8" in line)
    handle = rule.rpartition(" ")[2]
    lab.vm.run(["nft", f"delete rule inet ramnet leaving handle {handle}"]).check()
    with lab.capture() as capture:
        got = anybodys.command("verify", "--json", seconds=60)
        assert not capture.settle().sent_by_vm().without_housekeeping()
    assert got.code == 1
    assert {promise for promise, _ in _leaked(got.out)} == {promises.GUARD.code}
    assert ("last-guard", "tcp, bound to the uplink, IPv4") in _leaked(got.out)
    got = anybodys.command("verify", "--live", "--json", seconds=60)
    assert got.code == 1
    assert {promise for promise, _ in _leaked(got.out)} == {promises.GUARD.code}


@pytest.mark.lab
def test_without_the_service(ramnet: Ramnet) -> None:
    ramnet.write_config()
    assert ramnet.command("verify", "--live").code == 3
    ramnet.command("hold").check()
    got = ramnet.command("verify", seconds=60)
    assert got.code == 3
    assert "is ramnet running?" in got.out


@pytest.mark.lab
@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_ended_it_leaves_no_process(lab: Lab, ramnet: Ramnet, name: str) -> None:
    """The replica's service is stopped meanwhile, so it would not end by itself."""
    ramnet.write_config()
    before = _gates_cgroups()
    with tempfile.TemporaryDirectory(prefix="v") as folder:  # the path of a socket is short
        process = lab.vm.start(
            [PROGRAM, "verify", "--config", CONFIG], log="verify", environment={"TMPDIR": folder}
        )
        made = Path(folder)
        wait_until("the replica", lambda: list(made.glob("*/run/control.sock")), 30)
        service = _replicas_service(folder.encode())
        wait_until("it is stopped", lambda: _state(service) == "T", 30)
        process.send(signal.Signals[f"SIG{name}"])
        process.wait_for_end()
        wait_until("its end", lambda: _state(service) in (None, "Z"), 30)
        assert name == "KILL" or not list(made.iterdir())
    left = _gates_cgroups() - before
    assert name == "KILL" or not left
    for each in left:  # after SIGKILL nobody is there to do it, and what was in it is still ending
        wait_until("the cgroup's end", partial(_removed, each), 30)


def _removed(directory: Path) -> bool:
    with contextlib.suppress(OSError):  # EBUSY while a process is in it
        directory.rmdir()
    return not directory.exists()


def _gates_cgroups() -> set[Path]:
    mount = cgroup2_mount()
    return set() if mount is None else set(mount.glob("ramnet.gate-*"))


def _replicas_service(folder: bytes) -> int:
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (directory / "cmdline").read_bytes().split(b"\0")
            if b"run" in words and any(folder in word for word in words):
                return int(directory.name)
    raise AssertionError("there is none")


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None
