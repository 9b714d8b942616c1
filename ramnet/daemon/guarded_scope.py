"""One scope as the service holds it: its rules, its gate, and what changes around it."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from socket import socket
from typing import Any, Final, Protocol

from ramnet.config import Config, Scope
from ramnet.daemon import places, resolv_conf
from ramnet.daemon.channel import Adopted
from ramnet.daemon.cover_watch import CoverWatch
from ramnet.daemon.gate_keeper import WORKER, GateKeeper, Place
from ramnet.daemon.mender import Mender
from ramnet.errors import ConfigError
from ramnet.gate.spec import GateSpec, Interception, Surroundings
from ramnet.kernel.cover import CoverRules
from ramnet.kernel.surroundings import Near
from ramnet.kernel.watch import Change
from ramnet.ruleset import SINKHOLE4, SINKHOLE6

_CHECK_EVERY: Final = 4
"""Looks at the surroundings for each look at the rules themselves."""
_IDLE: Final = 9
"""Times as long as reading the counters took they are not read again."""


class Enforcing(Protocol):
    """What the service needs of ``ramnet.kernel.enforcer.Enforcer``."""

    listeners: dict[str, list[socket]]
    problems: list[str]
    scope: Scope
    cover: CoverRules | None

    @property
    def interception(self) -> Interception:
        """How connections come to the gate."""

    @property
    def namespace_descriptor(self) -> int:
        """Open file of the scope's network namespace."""

    @property
    def gate_cgroup(self) -> Path | None:
        """The cgroup that the gate joins."""

    @property
    def gate_ports(self) -> frozenset[int]:
        """Ports of the gate's listeners."""

    @property
    def near(self) -> Near:
        """Own addresses and container networks."""

    @property
    def sinkhole6(self) -> bool:
        """Whether refused names may be answered with the IPv6 sinkhole."""

    def install(self) -> None:
        """Listeners, routes, rules."""

    def apply(self) -> None:
        """Set the whole desired state again."""

    def follow_ports(self, named: Iterable[int]) -> dict[str, list[socket]]:
        """Have TCP to these ports come to the gate; the listeners made for it."""

    def refresh(self) -> bool:
        """Bring sets up to date; True when ``near`` changed."""

    def intact(self) -> bool:
        """Whether the rules stand as installed."""

    @property
    def tamper_descriptors(self) -> tuple[int, ...]:
        """Readable when rules or routes change."""

    def tampered(self) -> Change:
        """What others changed since the last call."""

    def restore(self, *, sets: bool) -> str:
        """Set again what was changed; what that was."""

    def refused(self) -> dict[str, int]:
        """Packets that the rules refused."""

    def remove(self) -> None:
        """Take everything away."""

    def close(self) -> None:
        """Let go; the rules stay."""

    def leave(self) -> None:
        """Let go of a namespace that the scope is no longer in; its rules stay and refuse."""

    def describe(self) -> dict[str, Any]:
        """For ``ramnet status``."""


MakeEnforcer = Callable[[Config, Scope], Enforcing]


class GuardedScope:
    """Made after ``install``; from then on nothing of the scope leaves but through its gate."""

    def __init__(
        self,
        config: Config,
        enforcer: Enforcing,
        spec: GateSpec,
        *,
        netns: str,
        dial: str = "scope",
        tell: Callable[[str], None],
        changed: Callable[[], None],
        command: Sequence[str] = WORKER,
    ) -> None:
        """Raises ConfigError where no resolver can be used, with the remedy."""
        self._config, self._enforcer, self._netns, self._tell = config, enforcer, netns, tell
        self.name = spec.scope
        self.resolver_problem: str | None = None
        self.kernel_problem: str | None = None
        self.intact = True
        self.cover = (
            None if enforcer.cover is None else CoverWatch(config, enforcer, self.name, tell)
        )
        self._mender = Mender(enforcer, self.name, tell)
        self._looks = 0
        self._refused_before: dict[str, int] | None = None
        self._refused_again = 0.0
        self._resolv_conf = ""
        if not self._follow_resolv_conf():
            raise ConfigError(f"scope {self.name}: {self.resolver_problem}")
        self.keeper = GateKeeper(
            spec,
            Place(enforcer.namespace_descriptor, enforcer.gate_cgroup, enforcer.listeners, dial),
            self._surroundings(),
            tell=tell,
            changed=changed,
            command=command,
            adopted=self._follow_ports,
        )

    def start(self) -> None:
        """Start the gate, and mend at once what others do to the rules."""
        self.keeper.start()
        self._mender.start()
        if self.cover is not None:
            self.cover.start()

    def look(self) -> None:
        """Bring rules and gate up to date with the machine; what fails is told and tried again."""
        self._looks += 1
        problems = [_problem_of(self._enforcer.refresh)]
        self._follow_resolv_conf()
        self.keeper.update(self._surroundings())
        if self._looks % _CHECK_EVERY == 0:
            problems.append(_problem_of(self._check))
        problem = "; ".join(filter(None, problems))
        if problem and problem != self.kernel_problem:
            self._tell(f"scope {self.name}: {problem}")
        self.kernel_problem = problem or None

    def stop_mending(self) -> None:
        """From now on what others change stays so."""
        if self.cover is not None:
            self.cover.stop()
        self._mender.stop()

    def describe(self) -> dict[str, Any]:
        """This scope in ``ramnet status``."""
        keeper = self.keeper
        return {
            **self._enforcer.describe(),
            "cover": None if self.cover is None else self.cover.describe(),
            "gate_pid": keeper.pid,
            "gate_ready": keeper.ready,
            "restarts": keeper.restarts,
            "resolver": keeper.status.get("resolver", {}),
            "proxy": keeper.status.get("proxy", {}),
            "events_lost": keeper.status.get("events_lost", 0),
            "rules": {
                "intact": self.intact,
                "problem": self.kernel_problem,
                "refused_packets": self._refused(),
                "restores": self._mender.restores,
            },
        }

    def remove(self) -> None:
        """Take the scope's rules, routes and listeners away."""
        self.stop_mending()
        self._enforcer.remove()

    def close(self) -> None:
        """Let go of listeners and namespace; the rules stay."""
        self.stop_mending()
        self._enforcer.close()

    def _check(self) -> None:
        self.intact = self._enforcer.intact()
        if not self.intact:
            self._mender.mend()
            self.intact = self._enforcer.intact()

    def _follow_ports(self, adopted: Adopted) -> None:
        """Where the kernel needs a listener for each port, make those that a policy names."""
        try:
            self.keeper.listen(self._enforcer.follow_ports(adopted.ports))
        except Exception as error:  # of whatever library: those ports stay refused
            self._tell(f"scope {self.name}: ports of the policy stay refused: {error}")

    def _refused(self) -> dict[str, int] | None:
        """Anybody may ask, and by listening on every port make an answer cost a fifth of a second.

        So it takes a tenth of the time at most; meanwhile the numbers of before are told.
        """
        began = time.monotonic()
        if began < self._refused_again:
            return self._refused_before
        try:
            self._refused_before = self._enforcer.refused()
        except Exception:
            self._refused_before = None
        now = time.monotonic()
        self._refused_again = now + _IDLE * (now - began)
        return self._refused_before

    def _follow_resolv_conf(self) -> bool:
        """Take the newest usable text; the last one stays where there is none now."""
        configured = bool(self._config.resolver.upstream)
        choice = resolv_conf.read_for(self._netns, configured=configured)
        if choice.problem and choice.problem != self.resolver_problem:
            self._tell(f"scope {self.name}: {choice.problem}")
        self.resolver_problem = choice.problem
        if choice.text is None:
            return False
        self._resolv_conf = choice.text
        return True

    def _surroundings(self) -> Surroundings:
        near = self._enforcer.near
        return Surroundings(
            addresses=sorted(near.addresses),
            networks=dict(sorted(near.networks)),
            resolv_conf=self._resolv_conf,
            gate_ports=sorted(self._enforcer.gate_ports),
            containers={} if self.cover is None else dict(sorted(self.cover.plan.names.items())),
        )


def _problem_of(duty: Callable[[], object]) -> str:
    try:
        duty()
    except Exception as error:  # of whatever library: the rules stand, the next look is near
        return str(error) or repr(error)
    return ""


def gate_spec(
    config: Config,
    scope: Scope,
    enforcer: Enforcing,
    *,
    authority: tuple[Path, Path] | None,
) -> GateSpec:
    """How the scope's gate works; ``authority`` is certificate and key."""
    certificate, key = authority or (None, None)
    return GateSpec(
        scope=scope.name,
        resolver=config.resolver,
        proxy=config.proxy,
        denial=config.denial,
        interception=enforcer.interception,
        sinkhole4=SINKHOLE4,
        sinkhole6=SINKHOLE6 if enforcer.sinkhole6 else None,
        event_log=str(places.event_log(config, scope.name)),
        ca_certificate=str(certificate) if certificate else None,
        ca_key=str(key) if key else None,
    )
