"""A scope made for the purpose: ``ramnet run`` itself, in namespaces of its own.

The same tier, the same capabilities, the same kind of scope as the one of this machine that it
stands for; whatever that one's rules lack is taken out of the replica's. Its supervisor is
stopped (SIGSTOP) while the probes are walked, so that it mends nothing; the gate goes on.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import tomli_w

from ramnet import config
from ramnet.config import Scope
from ramnet.errors import RamnetError
from ramnet.kernel.bench import OWN4, OWN6, RESOLVER4, UPLINK, WIRE, Bench
from ramnet.kernel.enforcer import Enforcer
from ramnet.kernel.examination import Examination, examine
from ramnet.kernel.nft import Nft
from ramnet.kernel.probe import WITHOUT
from ramnet.ruleset import Tier
from ramnet.ruleset.differences import Difference
from ramnet.verify.beyond import open_old_connections
from ramnet.verify.capture import Capture
from ramnet.verify.far import ALLOWED4, ALLOWED6, Far
from ramnet.verify.inside import Inside
from ramnet.verify.probe import SERVICE, Place

ALLOWED_NAME: Final = "allowed.ramnet-verify.example"
SCOPE: Final = "verify"
_EXPLICIT: Final = 3129
LEASHED: Final = (sys.executable, "-I", "-m", "ramnet.verify.leashed")
PROGRAM: Final = (sys.executable, "-I", "-m", "ramnet.entry")
"""Isolated: root may be in anybody's directory, and `-m` alone looks for modules there first."""
_START_LIMIT: Final = 60.0
_END_LIMIT: Final = 20.0


class Replica:
    """Made without rules; ``enforce`` has them put, ``close`` takes all of it away.

    Attributes:
        place: for the probes.
        capture: of what arrives at the far end.
    """

    def __init__(self, like: Scope) -> None:
        """Raises KernelRefusedError where namespaces cannot be had."""
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            self._directory = Path(tempfile.mkdtemp(prefix="ramnet-verify-"))
            undo.callback(shutil.rmtree, self._directory, ignore_errors=True)
            self.bench = Bench()
            undo.callback(self.bench.close)
            self._write(like)
            self.settings = config.load(self.config_path)
            far = Far(self.bench.far, ipv6=self.bench.ipv6)
            undo.callback(far.close)
            self.capture = Capture(
                self.bench.far, [WIRE], self.bench.scope, [UPLINK], outgoing=False
            )
            undo.callback(self.capture.close)
            inside = Inside(self.config_path, SCOPE)
            undo.callback(inside.close)
            self.place = self._make_place(inside, far)
            inside.ask("serve", port=SERVICE)
            self._service: subprocess.Popen[bytes] | None = None
            undo.callback(self._stop)
            self._undo = undo.pop_all()

    @property
    def config_path(self) -> Path:
        """The replica's ramnet.toml."""
        return self._directory / "ramnet.toml"

    def _write(self, like: Scope) -> None:
        policy = {
            "version": 1,
            "organization": "verify",
            "contact": "this is a test",
            "docker_hub": False,
            "registry": [{"host": ALLOWED_NAME}],
        }
        (self._directory / "policy.toml").write_text(tomli_w.dumps(policy), encoding="utf-8")
        scope = {"name": SCOPE, "netns": self.bench.scope_path}
        if like.cgroup is not None:
            scope["cgroup"] = f"ramnet-verify-{os.getpid()}"
        document = {
            "policy": str(self._directory / "policy.toml"),
            "state_dir": str(self._directory / "state"),
            "control_socket": str(self._directory / "run" / "control.sock"),
            "scope": [scope],
            "resolver": {"upstream": [RESOLVER4]},
            "proxy": {"explicit": [f"127.0.0.1:{_EXPLICIT}"]},
        }
        self.config_path.write_text(tomli_w.dumps(document), encoding="utf-8")

    def _make_place(self, inside: Inside, far: Far) -> Place:
        scope = self.settings.scopes[0]
        enforcer = Enforcer(self.settings, scope)
        tier, six = enforcer.tier, enforcer.capabilities.policy_routing6
        member = enforcer.describe()["scoping"] != "namespace"
        lacks = frozenset(enforcer.capabilities.missing())
        enforcer.close()
        versions = (4, 6) if self.bench.ipv6 else (4,)
        decided = {4, *([6] if tier is Tier.REDIRECT or six else [])} & set(versions)

        def both(ipv4: str, ipv6: str) -> dict[int, str]:
            return {version: {4: ipv4, 6: ipv6}[version] for version in versions}

        token = secrets.token_hex(4)
        return Place(
            inside=inside,
            own=both(OWN4, OWN6),
            blocked=both("203.0.113.7", "2001:db8:2::7"),
            foreign=both("198.51.100.53", "2001:db8:2::53"),
            allowed=both(ALLOWED4, ALLOWED6),
            blocked_name=f"blocked-{token}.ramnet-verify.example",
            allowed_name=ALLOWED_NAME,
            secret=f"ramnet {token}".encode(),
            decided=frozenset(decided),
            device=UPLINK,
            tier=tier.value,
            far=far,
            member=member,
            lacks=lacks,
            explicit=_EXPLICIT,
        )

    def enforce(self) -> None:
        """Start the service, wait until it enforces, and stop its supervisor.

        Raises:
            RamnetError: it did not come to enforce, with its last words.
        """
        if not self.place.member:
            open_old_connections(self.place)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self._directory / "notify"))
            ready.settimeout(_START_LIMIT)
            with (self._directory / "log").open("wb") as log:
                self._service = subprocess.Popen(
                    [*LEASHED, str(os.getpid()), *PROGRAM, "run", "--config", self.config_path],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(),
                )  # fmt: skip
            self._wait(ready)
        self._service.send_signal(signal.SIGSTOP)
        if self.place.member:
            self.place.inside.ask("join")

    def _environment(self) -> dict[str, str]:
        """Tables that are nobody's own, so that what the machine's lack can be taken out."""
        without = filter(None, (os.environ.get(WITHOUT, ""), "owner,persist"))
        return {
            **os.environ,
            WITHOUT: ",".join(without),
            "NOTIFY_SOCKET": str(self._directory / "notify"),
        }

    def _wait(self, ready: socket.socket) -> None:
        try:
            while b"READY=1" not in ready.recv(4096):
                pass
        except TimeoutError:
            said = (self._directory / "log").read_text(errors="replace").strip()
            last = said.splitlines()[-1] if said else "nothing"
            raise RamnetError(f"the replica did not come to enforce; it said: {last}") from None

    def examine(self) -> Examination:
        """What stands in the replica."""
        return examine(self.settings, self.settings.scopes[0])

    def take_out(self, missing: Iterable[Difference]) -> None:
        """Take out of the replica's rules what is missing in the machine's.

        Raises:
            KernelRefusedError: they cannot be changed.
        """
        nft = self.bench.scope.call(Nft)
        try:
            found = self.examine()
            tables = list(found.planned.tables)
            steps = []
            for each in missing:
                if each.position is None:
                    continue
                family, name = next(t for t in tables if t[0] == each.table[0])
                rules = self.bench.scope.call(nft.handles, name, family).get(each.chain, [])
                if each.position < len(rules):
                    handle = rules[each.position]
                    steps.append(f"delete rule {family} {name} {each.chain} handle {handle}\n")
            if steps:
                self.bench.scope.call(nft.apply, "".join(steps))
        finally:
            nft.close()

    def _stop(self) -> None:
        service = self._service
        if service is None:
            return
        service.send_signal(signal.SIGCONT)
        down = [*PROGRAM, "down", "--config", str(self.config_path)]
        environment = self._environment()
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(down, env=environment, capture_output=True, timeout=_END_LIMIT,
                           check=False)  # fmt: skip
            service.wait(_END_LIMIT)
        if service.poll() is None:
            service.kill()
            service.wait()

    def close(self) -> None:
        """Take rules, processes, namespaces and files away."""
        self._undo.close()
