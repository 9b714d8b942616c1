"""``ramnet run``: puts the service together, in the one order that is never open."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from ramnet.audit import Event, EventLog
from ramnet.caveats.cover import is_meant
from ramnet.caveats.facts import Container, DockerDaemon, DockerProxy
from ramnet.config import Config, Scope
from ramnet.daemon import authority, places, status
from ramnet.daemon.admission import Admission
from ramnet.daemon.adoption import Adoption
from ramnet.daemon.builder_watch import BuilderWatch
from ramnet.daemon.compiler import compile_document
from ramnet.daemon.control import Control, Route
from ramnet.daemon.docker_look import DockerLook
from ramnet.daemon.fetching import WayOut
from ramnet.daemon.gate_keeper import WORKER, GateKeeper
from ramnet.daemon.guarded_scope import Enforcing, GuardedScope, MakeEnforcer, gate_spec
from ramnet.daemon.metrics_keeper import MetricsKeeper
from ramnet.daemon.news import News
from ramnet.daemon.notify import notify, watchdog_interval
from ramnet.daemon.policy_keeper import Compile, PolicyKeeper
from ramnet.daemon.scope_life import NO_HOLD, Hold, ScopeLife
from ramnet.daemon.session_keeper import SessionKeeper
from ramnet.daemon.signed_policy import SignedPolicyKeeper
from ramnet.errors import RamnetError
from ramnet.journal import Level
from ramnet.kernel.docker import gather_proxies
from ramnet.kernel.docker_daemons import RunningDocker, gather_daemons, running_dockers

LOOK: Final = 0.25
"""Seconds between two looks at the surroundings of every scope."""


def _to_stderr(sentence: str) -> None:
    with contextlib.suppress(OSError):  # whoever read it may be gone; enforcing goes on
        print(f"ramnet: {sentence}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Means:
    """What the service works with; tests put stand-ins here."""

    make_enforcer: MakeEnforcer
    create_authority: authority.Create
    worker: Sequence[str] = WORKER
    compile_: Compile = compile_document
    docker_proxies: Callable[[], list[DockerProxy]] = gather_proxies
    docker_daemons: Callable[[], list[DockerDaemon]] = gather_daemons
    running_dockers: Callable[[], list[RunningDocker]] = running_dockers
    caveats_command: Sequence[str] = ()
    """Prints what is not covered here as JSON, for metrics."""
    log: Callable[[str], None] = _to_stderr
    release_own_hold: Callable[[], None] = lambda: None
    """Called when every scope has its rules: what ``hold`` did without a configuration ends."""
    hold_the_bare: Callable[[Callable[[str], None]], None] = lambda _: None
    """Called when the start is refused: whatever scope has no rules is held; takes the log."""
    hold: Hold = NO_HOLD  # for a scope that comes later and whose rules are refused


class LogLevelOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /v1/log-level``."""

    level: Level


class Service:
    """One run of the service."""

    def __init__(self, config: Config, means: Means) -> None:
        """Raises RamnetError when another service runs already."""
        places.make_run_directory(config)
        self._lock = places.Lock(config.run_dir)
        self._config, self._means = config, means
        self._state_problem: str | None = None
        self._events = EventLog(places.service_log(config))
        self._began = time.monotonic()
        self._lives = [
            ScopeLife(config, scope, means.make_enforcer, self.tell, means.hold)
            for scope in config.scopes
        ]
        self._ca: authority.Authority | None = None
        self._state, self._decided, self._started = "starting", False, False
        self._shown = self._state
        self._ca_problem: str | None = None
        self._docker = DockerLook(config, means.docker_proxies, means.docker_daemons, self.tell)
        self._builders = BuilderWatch(self.tell, means.running_dockers, self._is_meant)
        self._level: Level = "info"
        self._end = asyncio.Event()
        self._news = News()
        self._adoption = Adoption(self._keepers, self._news)
        allow = config.session.allow
        self._admission = Admission(self._adoption.install, means.compile_, allow)
        self._policy = self._make_policy_keeper()
        self._session = SessionKeeper(
            config,
            self._admission,
            use_groups=self._policy.use_groups,
            way_out=self._way_out,
            tell=self.tell,
        )
        routes = {
            ("GET", "/v1/status"): Route(self._status),
            ("POST", "/v1/refresh"): Route(self._refresh, changes=True),
            ("POST", "/v1/sign-in"): Route(self._sign_in, changes=True, body=True),
            ("POST", "/v1/sign-out"): Route(self._sign_out, changes=True),
            ("POST", "/v1/log-level"): Route(self._set_log_level, changes=True, body=True),
            ("POST", "/v1/down"): Route(self._down, root_only=True),
        }
        self._control = Control(Path(config.control_socket), routes)
        self._metrics = MetricsKeeper(
            config.metrics, self._status, self.tell, means.caveats_command
        )

    def _make_policy_keeper(self) -> PolicyKeeper | SignedPolicyKeeper:
        install, config = self._admission.install, self._config
        if config.signed:
            return SignedPolicyKeeper(
                config,
                compile_=compile_document,
                install=install,
                tell=self.tell,
                alarm=self._alarm,
                way_out=self._way_out,
            )
        return PolicyKeeper(
            Path(config.policy),
            Path(config.state_dir),
            compile_=self._means.compile_,
            install=install,
            tell=self.tell,
        )

    def _way_out(self) -> WayOut | None:
        """That of the first scope that is there; one that dials from elsewhere comes after all
        others, since what it would come from may be one of them, where the gate alone gets out."""
        keepers = sorted(self._keepers(), key=lambda keeper: keeper.place.dial == "own")
        for keeper in keepers:
            return WayOut(keeper.place, keeper.spec, keeper.surroundings)
        return None

    def _is_meant(self, container: Container) -> bool:
        return any(is_meant(scope.containers, container) for scope in self._config.scopes)

    def _alarm(self, sentence: str) -> None:
        """An attack on the policy: for the log of what was refused, too."""
        event = Event(scope="service", kind="service", verdict="refused", reason=sentence)
        self._events.write(event)
        self._means.log(sentence)

    def tell(self, sentence: str) -> None:
        """One event for the audit log and one line for the journal."""
        self._events.write(Event(scope="service", kind="service", verdict="info", reason=sentence))
        self._means.log(sentence)

    async def run(self) -> None:
        """Enforce until SIGTERM, SIGINT or ``down``; the first two leave the rules."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._end.set)
        try:
            self._make_state_directories()
            self._guard()
            await self._control.start()
            await self._serve()
        finally:
            await self._close()

    def _guard(self) -> None:
        """Rules first, for every scope; what comes from then on waits or is refused."""
        try:
            for life in self._lives:
                life.close_off(self._lives)
        except Exception:  # of whatever library
            self._means.hold_the_bare(self.tell)
            raise
        self._means.release_own_hold()
        self._ca = self._authority()
        for life in self._lives:
            if life.closed_off:
                life.guard(self._make_guarded)

    def _make_guarded(self, scope: Scope, enforcer: Enforcing) -> GuardedScope:
        return GuardedScope(
            self._config,
            enforcer,
            gate_spec(self._config, scope, enforcer, authority=self._ca),
            netns=scope.netns,
            dial=scope.dial,
            tell=self.tell,
            changed=self._news.publish,
            command=self._means.worker,
        )

    def _make_state_directories(self) -> None:
        """At the start, and at every look while it cannot be done."""
        problem = places.make_state_directories(self._config)
        if problem and not self._state_problem:
            self.tell(problem)
        self._state_problem = problem

    def _authority(self) -> authority.Authority | None:
        if self._config.denial.tls != "certificate":
            return None
        try:
            return authority.ensure(self._config.run_dir, self._means.create_authority)
        except (RamnetError, OSError) as error:
            self._ca_problem = f"refusals over TLS are alerts without words: {error}"
            self.tell(self._ca_problem)
            return None

    async def _serve(self) -> None:
        for scope in self._scopes():
            scope.start()
        try:
            async with asyncio.TaskGroup() as duties:
                running = [
                    duties.create_task(duty)
                    for duty in (
                        self._keep_policy(),
                        self._session.watch(),
                        self._look_around(),
                        self._docker.run(),
                        self._builders.run(),
                        self._report_news(),
                        self._metrics.run(),
                        self._feed_watchdog(),
                    )
                ]
                await self._end.wait()
                for task in running:
                    task.cancel()
        except ExceptionGroup as group:  # a duty ends by an error alone; init starts us anew
            raise group.exceptions[0] from None

    async def _keep_policy(self) -> None:
        await self._session.start()
        await self._policy.start()
        self._decided = True
        self._report()
        await self._policy.watch()

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            for life in self._lives:
                await self._follow(life)
            for scope in self._scopes():
                scope.look()
            if self._state_problem:
                self._make_state_directories()
            self._report()

    async def _follow(self, life: ScopeLife) -> None:
        """Pick up a namespace that appeared, or that took the place of another."""
        began = await life.follow(self._lives, self._make_guarded)
        if began is not None:
            self._adoption.introduce(began.keeper)
            began.keeper.set_log_level(self._level)
            began.start()

    async def _report_news(self) -> None:
        while True:
            await self._news.next()
            self._report()

    async def _feed_watchdog(self) -> None:
        interval = watchdog_interval()
        while interval is not None:
            notify("WATCHDOG=1")
            await asyncio.sleep(interval)

    def _report(self) -> None:
        """Tell the service manager and the log, where the state changed."""
        state, first = "starting", False
        if not self._started and self._decided and self._adoption.complete:
            self._started = first = True
        if self._started:
            admitted = self._admission.mode != "closed"
            serving = admitted and self._policy.in_force and all(li.serving for li in self._lives)
            state = "enforcing" if serving else "refusing"
            if serving and not self._enforced:
                state = "auditing"
        shown = f"{state}, and nothing is restricted" if self._restricts_nothing else state
        if state != self._state:
            self._state = state
            self.tell(state)
        if shown != self._shown:
            self._shown = shown
            notify(f"READY=1\nSTATUS={shown}" if first else f"STATUS={shown}")
            if self._restricts_nothing and self._admission.mode == "policy":
                self.tell(status.UNRESTRICTED)

    @property
    def _enforced(self) -> bool:
        """False where the policy in force says ``enforce = false``."""
        adopted = self._adoption.adopted
        return adopted is None or adopted.enforced

    @property
    def _restricts_nothing(self) -> bool:
        return status.restriction(self._adoption.adopted) == "nothing"

    def _keepers(self) -> list[GateKeeper]:
        return [scope.keeper for scope in self._scopes()]

    def _scopes(self) -> list[GuardedScope]:
        return [life.guarded for life in self._lives if life.guarded is not None]

    async def _status(self) -> dict[str, Any]:
        return status.document(
            self._config,
            state=self._state,
            restriction=status.restriction(self._adoption.adopted),
            uptime=time.monotonic() - self._began,
            policy=self._describe_policy(),
            session=self._session.describe(),
            scopes=[life.describe() for life in self._lives],
            metrics=self._metrics.describe(),
            log_level=self._level,
            warnings=self._warnings(),
        )

    def _warnings(self) -> list[str]:
        found: list[str | None] = [None if self._enforced else status.NOT_ENFORCED]
        if self._restricts_nothing and self._admission.mode == "policy":  # else the session says so
            found.append(status.UNRESTRICTED)
        found += [self._ca_problem, self._state_problem, self._metrics.problem]
        found += [*self._policy.warnings(), *self._session.warnings()]
        found += [line for life in self._lives for line in life.warnings()]
        found += [*status.config_warnings(self._config), *self._docker.problems]
        return [*filter(None, found), *self._builders.warnings]

    async def _sign_in(self, body: bytes) -> dict[str, Any]:
        session = await self._session.sign_in(body)
        self._report()
        return session

    async def _sign_out(self) -> dict[str, Any]:
        session = await self._session.sign_out()
        self._report()
        return session

    async def _set_log_level(self, body: bytes) -> dict[str, Any]:
        try:
            self._level = msgspec.json.decode(body, type=LogLevelOrder).level
        except msgspec.DecodeError as error:
            raise RamnetError(f"the log level is info or debug: {error}") from None
        for keeper in self._keepers():
            keeper.set_log_level(self._level)
        self.tell(f"log level {self._level}")
        return {"level": self._level}

    async def _refresh(self) -> dict[str, Any]:
        await self._policy.refresh()
        self._report()
        return self._describe_policy()

    def _describe_policy(self) -> dict[str, Any]:
        follows = self._admission.mode == "policy"
        return status.describe_policy(self._policy, self._adoption.adopted, follows=follows)

    async def _down(self) -> dict[str, Any]:
        """Gates first, then the rules, so that nothing of the gates' dies half open."""
        self._end.set()
        lives, self._lives = self._lives, []
        for life in lives:
            await life.stop()
        for life in lives:
            life.remove()
        self.tell("down: every rule is taken away")
        return {"state": "down"}

    async def _close(self) -> None:
        notify("STOPPING=1")
        await self._control.close()
        for life in self._lives:
            await life.stop()
            life.close()
        self._events.close()
        self._lock.release()
