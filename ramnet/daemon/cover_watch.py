"""Keeps the cover of one scope's containers as Docker tells of them.

Everything is asked anew at each event: what is asked answers in milliseconds, and nothing has to
be worked out from events that were missed. A container's address is made, and told, before its
first process is; on a bridge that is watched already it is covered without our knowing it. Docker
is asked without an event too: who is not covered is so for a time alone (``ruleset.cover``).

Every dockerd of the scope's network namespace is followed, and what each tells is put together:
an address is another's only by the word of a dockerd that was heard just now.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from ramnet.caveats.cover import CoverPlan, join_plans, leads_out, plan_cover
from ramnet.config import Config, Scope
from ramnet.daemon.builder_watch import events
from ramnet.errors import RamnetError
from ramnet.kernel.cover import CoverRules
from ramnet.kernel.docker import is_dockerd
from ramnet.kernel.docker_api import DockerApiError
from ramnet.kernel.docker_daemons import RunningDocker, running_dockers
from ramnet.kernel.docker_networks import attached_containers, container_networks
from ramnet.kernel.surroundings import Near

LOOK: Final = 1.0
"""Seconds between two looks for a dockerd, while none is followed."""
LOOK_AGAIN: Final = 3.0
"""Seconds between two looks for a further one; each reads a file of every process."""
RENEW: Final = 3.0
"""Seconds without an event after which Docker is asked again."""
HEARD: Final = 2 * RENEW
"""Seconds for which one dockerd's word on others is handed on at the events of another."""
_AGAIN: Final = 0.2
"""Seconds until one whose API failed is asked again."""
_WANTED: Final = {
    "type": ["container", "network"],
    "event": ["create", "start", "die", "rename", "destroy", "connect", "disconnect"],
}


class Covering(Protocol):
    """What the watch needs of ``ramnet.kernel.enforcer.Enforcer``."""

    scope: Scope
    cover: CoverRules | None

    @property
    def namespace_descriptor(self) -> int:
        """Open file of the scope's network namespace."""

    @property
    def near(self) -> Near:
        """What is near there, as last read."""


@dataclass(slots=True, eq=False)
class _Followed:
    """One dockerd, and what it told last.

    Attributes:
        plan: None until it was heard.
        heard: when, on the monotonic clock.
        outward: bridges that led out of this machine then.
    """

    docker: RunningDocker
    plan: CoverPlan | None = None
    heard: float = 0.0
    outward: dict[str, str] = field(default_factory=dict)
    problem: str | None = "it was not asked yet"

    def told(self, now: float) -> CoverPlan:
        """Its plan as far as it holds by now."""
        plan = self.plan or CoverPlan()
        return plan if now - self.heard < HEARD else replace(plan, others=frozenset())


class CoverWatch:
    """Follows every dockerd whose networks are in the scope's namespace.

    Attributes:
        plan: what came out last, of all of them.
    """

    def __init__(
        self, config: Config, enforcer: Covering, scope: str, tell: Callable[[str], None]
    ) -> None:
        """The bridges that were watched when this machine last ran are so again."""
        assert enforcer.cover is not None
        self._rules, self._words, self._scope, self._tell = (
            enforcer.cover, enforcer.scope.containers, scope, tell,
        )  # fmt: skip
        self._whole_namespace = enforcer.scope.cgroup is None
        self._enforcer = enforcer
        self._inode = os.fstat(enforcer.namespace_descriptor).st_ino
        self._file = Path(config.state_dir) / f"cover-{scope}.json"
        self._followed: dict[int, _Followed] = {}
        self._left: dict[str, CoverPlan] = {}
        """Of those that are gone, by the path of the socket; whoever comes there takes over."""
        self._problem: str | None = "no dockerd in this scope's network namespace was asked yet"
        self._task: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        """One went: another may come at once."""
        self.took = 0.0
        self.plan = CoverPlan()
        self._remembered = self._remember()

    def start(self) -> None:
        """Follow, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Follow no more; what is covered stays so."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def describe(self) -> dict[str, Any]:
        """For ``ramnet status``."""
        return {
            "containers": list(self._words),
            "bridges": sorted(self._rules.covered.whole | self._rules.covered.watched),
            "covered": {i: n for i, n in self.plan.chosen.items() if i not in self.plan.beside},
            "not_covered": {
                **{self.plan.chosen[i]: why for i, why in self.plan.beside.items()},
                **self._open_bridges(),
            },
            "addresses": dict(self.plan.names),
            "other_addresses": sorted(self.plan.others),
            "problem": self._problem,
            "read_ms": round(self.took * 1000, 1),
        }

    def warnings(self) -> list[str]:
        """What is not covered as configured, for a person."""
        found = [
            f"scope {self._scope}: container {self.plan.chosen[identity]} is NOT covered: {why}"
            for identity, why in self.plan.beside.items()
        ]
        found += [
            f"scope {self._scope}: {word} is NOT covered: {why}"
            for word, why in self._open_bridges().items()
        ]
        if self._problem:
            found.append(f"scope {self._scope}: containers to cover are not known: {self._problem}")
        return found

    def _outward(self) -> dict[str, str]:
        return dict(self._enforcer.near.outward)

    def _open_bridges(self) -> dict[str, str]:
        """Words of the configuration that name a bridge by which packets leave past the rules."""
        whole = self._rules.covered.whole
        ways = sorted((b, way) for b, way in self._outward().items() if b in whole)
        return {f"bridge:{bridge}": leads_out(bridge, way) for bridge, way in ways}

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as following:
            while True:
                for docker in await asyncio.to_thread(self._find):
                    if docker.pid not in self._followed:
                        one = self._followed[docker.pid] = _Followed(docker)
                        following.create_task(self._keep_following(one))
                if not self._followed:
                    self._note(None, "no dockerd in this scope's network namespace is in view")
                self._gone.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN if self._followed else LOOK):
                        await self._gone.wait()

    def _find(self) -> list[RunningDocker]:
        return [docker for docker in running_dockers() if self._is_here(docker)]

    def _is_here(self, docker: RunningDocker) -> bool:
        try:
            inode = (docker.directory / "ns" / "net").stat().st_ino
            return inode == self._inode and is_dockerd(docker.directory)
        except OSError:  # it went meanwhile
            return False

    async def _keep_following(self, one: _Followed) -> None:
        """As long as it lives."""
        while await asyncio.to_thread(self._is_here, one.docker):
            await self._follow(one)
            await asyncio.sleep(_AGAIN)
        del self._followed[one.docker.pid]
        self._gone.set()
        if one.plan is not None:
            # Whoever starts next may be given the address of anybody before.
            self._left[one.docker.socket] = CoverPlan(one.plan.watched, chosen=one.plan.chosen)
            try:
                self._set()
            except RamnetError as error:
                self._note(None, str(error))

    async def _follow(self, one: _Followed) -> None:
        try:
            begun = False
            async for news in events(one.docker, _WANTED, idle=RENEW):
                moved = one.outward != self._outward()
                others = one.plan is not None and one.plan.others
                if news is not None or not begun or moved or others:
                    await self._read(one)
                begun = True
            self._note(one, "Docker's events have ended")
        except (OSError, ValueError, RecursionError, RamnetError, DockerApiError) as error:
            self._note(one, str(error) or repr(error))
        except msgspec.MsgspecError as error:
            self._note(one, f"what Docker tells makes no sense: {error}")

    async def _read(self, one: _Followed) -> None:
        began = time.monotonic()
        api = one.docker.api
        attached = await asyncio.to_thread(attached_containers, api)
        networks = await asyncio.to_thread(container_networks, api)
        one.outward = self._outward()
        one.plan = plan_cover(
            self._words,
            attached,
            networks,
            known=self.plan.chosen,
            whole_namespace=self._whole_namespace,
            outward=one.outward,
        )
        one.heard, one.problem = began, None
        self._left.pop(one.docker.socket, None)
        self._set()
        self.took = time.monotonic() - began
        self._problem = self._first_problem()

    def _set(self) -> None:
        """Have the rules say what all of them told."""
        before, self.plan = self.plan, self._together()
        self._rules.follow(self.plan.watched, self.plan.others)
        if self.plan.watched != before.watched:
            self._keep()
        for identity, name in self.plan.chosen.items():
            why = self.plan.beside.get(identity)
            if identity not in before.chosen or why != before.beside.get(identity):
                said = "covered" if why is None else f"NOT covered: {why}"
                self._tell(f"scope {self._scope}: container {name} is {said}")

    def _together(self) -> CoverPlan:
        now, followed = time.monotonic(), self._followed.values()
        if followed and all(one.plan is not None for one in followed):
            self._remembered = frozenset()
        plans = [*self._left.values(), *(one.told(now) for one in followed)]
        return join_plans([CoverPlan(self._remembered), *plans])

    def _note(self, one: _Followed | None, problem: str) -> None:
        if one is not None:
            one.problem, problem = problem, self._named(one, problem)
        if problem != self._problem:
            self._tell(f"scope {self._scope}: containers to cover are not known: {problem}")
        self._problem = problem

    def _first_problem(self) -> str | None:
        told = (self._named(one, one.problem) for one in self._followed.values() if one.problem)
        return next(told, None)

    def _named(self, one: _Followed, problem: str) -> str:
        several = len(self._followed) > 1
        return f"dockerd (pid {one.docker.pid}): {problem}" if several else problem

    def _remember(self) -> frozenset[str]:
        """Over a boot too, since dockerd starts containers before it answers anybody."""
        try:
            names = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return frozenset()
        if not isinstance(names, list):
            return frozenset()
        found = frozenset(name for name in names if isinstance(name, str))
        self._rules.watch_also(found)
        return found

    def _keep(self) -> None:
        try:
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(sorted(self.plan.watched)), encoding="utf-8")
            fresh.replace(self._file)
        except OSError as error:
            self._tell(f"cannot keep {self._file}: {error.strerror}")
