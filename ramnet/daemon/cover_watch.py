"""Keeps the cover of one scope's containers as Docker tells of them.

Everything is asked anew at each event: what is asked answers in milliseconds, and nothing has to
be worked out from events that were missed. A container's address is made, and told, before its
first process is; on a bridge that is watched already it is covered without our knowing it. Docker
is asked without an event too: who is not covered is so for a time alone (``ruleset.cover``).
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from ramnet.caveats.cover import CoverPlan, leads_out, plan_cover
from ramnet.config import Config, Scope
from ramnet.daemon.builder_watch import events
from ramnet.errors import RamnetError
from ramnet.kernel.cover import CoverRules
from ramnet.kernel.docker_api import DockerApiError
from ramnet.kernel.docker_daemons import RunningDocker, running_dockers
from ramnet.kernel.docker_networks import attached_containers, container_networks
from ramnet.kernel.surroundings import Near

LOOK: Final = 1.0
"""Seconds between two looks for a dockerd, while none is followed."""
RENEW: Final = 3.0
"""Seconds without an event after which Docker is asked again."""
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


class CoverWatch:
    """Follows the dockerd whose networks are in the scope's namespace.

    Attributes:
        plan: what came out last.
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
        self._outward_before: dict[str, str] = {}
        self._inode = os.fstat(enforcer.namespace_descriptor).st_ino
        self._file = Path(config.state_dir) / f"cover-{scope}.json"
        self._problem: str | None = "no dockerd in this scope's network namespace was asked yet"
        self._task: asyncio.Task[None] | None = None
        self.took = 0.0
        self.plan = CoverPlan()
        self._remember()

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
        while True:
            docker = await asyncio.to_thread(self._find)
            if docker is None:
                self._note("no dockerd in this scope's network namespace is in view")
            else:
                await self._follow(docker)
                if not docker.directory.exists():
                    # Whoever starts next may be given the address of anybody before.
                    self._set(CoverPlan(self.plan.watched, chosen=self.plan.chosen))
            await asyncio.sleep(_AGAIN if docker is not None else LOOK)

    def _find(self) -> RunningDocker | None:
        for docker in running_dockers():
            try:
                if (docker.directory / "ns" / "net").stat().st_ino == self._inode:
                    return docker
            except OSError:  # it went meanwhile
                continue
        return None

    async def _follow(self, docker: RunningDocker) -> None:
        try:
            begun = False
            async for news in events(docker, _WANTED, idle=RENEW):
                moved = self._outward_before != self._outward()
                if news is not None or not begun or moved or self.plan.others:
                    await self._read(docker)
                begun = True
            self._note("Docker's events have ended")
        except (OSError, ValueError, RecursionError, RamnetError, DockerApiError) as error:
            self._note(str(error) or repr(error))
        except msgspec.MsgspecError as error:
            self._note(f"what Docker tells makes no sense: {error}")

    async def _read(self, docker: RunningDocker) -> None:
        began = time.monotonic()
        attached = await asyncio.to_thread(attached_containers, docker.api)
        networks = await asyncio.to_thread(container_networks, docker.api)
        self._outward_before = outward = self._outward()
        plan = plan_cover(
            self._words,
            attached,
            networks,
            known=self.plan.chosen,
            whole_namespace=self._whole_namespace,
            outward=outward,
        )
        self._set(plan)
        self.took = time.monotonic() - began
        self._problem = None

    def _set(self, plan: CoverPlan) -> None:
        before, self.plan = self.plan, plan
        self._rules.follow(plan.watched, plan.others)
        if plan.watched != before.watched:
            self._keep()
        for identity, name in plan.chosen.items():
            why = plan.beside.get(identity)
            if identity not in before.chosen or why != before.beside.get(identity):
                said = "covered" if why is None else f"NOT covered: {why}"
                self._tell(f"scope {self._scope}: container {name} is {said}")

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            self._tell(f"scope {self._scope}: containers to cover are not known: {problem}")
        self._problem = problem

    def _remember(self) -> None:
        """Over a boot too, since dockerd starts containers before it answers anybody."""
        try:
            names = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return
        if isinstance(names, list):
            self._rules.watch_also(frozenset(name for name in names if isinstance(name, str)))

    def _keep(self) -> None:
        try:
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(sorted(self.plan.watched)), encoding="utf-8")
            fresh.replace(self._file)
        except OSError as error:
            self._tell(f"cannot keep {self._file}: {error.strerror}")
