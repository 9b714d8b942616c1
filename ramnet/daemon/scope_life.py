"""One scope over the life of the service: it may come late, go away and return.

``waiting``: its network namespace is not there. Nothing of it can leave by a namespace that does
not exist; the moment it is seen, rules come first and the gate after them. ``guarded``: rules and
gate are there. When the words of ``ramnet.toml`` name another namespace than before, the new one
is closed off first; the old one, which may still have processes, keeps its rules without a gate,
so it stays closed. When they name none, rules and gate of the old one stay until there is one.
Where its rules cannot be had, the namespace is held (``ramnet.kernel.hold``) until they can.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from ramnet.config import Config, Scope
from ramnet.daemon.guarded_scope import Enforcing, GuardedScope, MakeEnforcer
from ramnet.errors import ConfigError, NamespaceAbsentError, RamnetError
from ramnet.kernel.netns import inode_of

MakeGuarded = Callable[[Scope, Enforcing], GuardedScope]


class Hold(NamedTuple):
    """How a scope is closed whose rules cannot be had; tests put stand-ins here."""

    apply: Callable[[Scope], str | None] = lambda _: None
    """What was done; None where rules of ours stand already. Raises RamnetError."""
    release: Callable[[Scope], object] = lambda _: None
    """Raises RamnetError."""


NO_HOLD: Final = Hold()


_WHOLE = "namespace"


class ScopeLife:
    """One ``[[scope]]``, whatever becomes of its namespace."""

    def __init__(
        self,
        config: Config,
        scope: Scope,
        make_enforcer: MakeEnforcer,
        tell: Callable[[str], None],
        hold: Hold,
    ) -> None:
        """Nothing is looked at yet."""
        self._config, self._make_enforcer, self._tell = config, make_enforcer, tell
        self._hold = hold
        self.scope = scope
        self.guarded: GuardedScope | None = None
        self._enforcer: Enforcing | None = None
        self._waiting: str | None = None
        self._absent = False
        self._failing = False
        self._held = False
        self._bare: str | None = None
        """Why it could not even be held."""

    @property
    def closed_off(self) -> bool:
        """Whether rules stand in a namespace of the scope."""
        return self._enforcer is not None

    @property
    def serving(self) -> bool:
        """Whether what is allowed works in it; nothing does in one that is not there."""
        return not self._failing and (self.guarded is None or self.guarded.keeper.serving)

    def warnings(self) -> list[str]:
        """What is wrong with it or not as configured, for a person."""
        found = []
        if self._waiting is not None:
            found.append(f"scope {self.scope.name}: waiting: {self._waiting}")
        if self._bare is not None:
            found.append(self._bare)
        if self.guarded is not None and self.guarded.resolver_problem:
            found.append(self.guarded.resolver_problem)
        if self.guarded is not None and self.guarded.cover is not None:
            found += self.guarded.cover.warnings()
        if self._enforcer is not None:
            found += self._enforcer.problems
            said = self._enforcer.describe()
            if self.scope.cgroup is not None and said["scoping"] == _WHOLE:
                found.append(f"scope {self.scope.name}: {said.get('scoping_reason')}")
        return found

    def close_off(self, others: "Sequence[ScopeLife]") -> None:
        """Put the rules in place; without its namespace the scope waits.

        Raises:
            ConfigError: another scope has the namespace already.
            KernelRefusedError: the kernel took less than all of it.
        """
        try:
            enforcer = self._make_enforcer(self._config, self.scope)
        except NamespaceAbsentError as error:
            self._wait(str(error))
            return
        try:
            self._check_apart(enforcer, others)
            enforcer.install()
        except BaseException:
            enforcer.close()
            raise
        self._enforcer = enforcer
        for problem in enforcer.problems:
            self._tell(f"scope {self.scope.name}: {problem}")

    def guard(self, make: MakeGuarded) -> GuardedScope:
        """Make the gate's side, after ``close_off``. Raises ConfigError."""
        assert self._enforcer is not None
        self.guarded = make(self.scope, self._enforcer)
        self._waiting = self._bare = None
        self._failing = self._held = False  # the rules took the place of a hold
        return self.guarded

    async def follow(self, others: "Sequence[ScopeLife]", make: MakeGuarded) -> GuardedScope | None:
        """Look whether the namespace came, went or changed; returns a gate's side made anew."""
        inode = inode_of(self.scope.netns)
        self._note_absence(inode is None)
        if inode is None:
            self._failing, self._held, self._bare = False, False, None  # nothing to hold any more
            return None
        if self.guarded is not None and self.inode == inode:
            return None
        try:
            if self.inode != inode:
                await self._leave(others)
            return self.guard(make) if self._enforcer is not None else None
        except Exception as error:  # of whatever library: said once, tried again at the next look
            self._wait(str(error) or repr(error))
            self._hold_bare()
            return None

    def _hold_bare(self) -> None:
        """Nothing leaves a namespace that is there without rules, whatever they failed by."""
        self._failing = True
        name, bare = self.scope.name, self._bare
        try:
            done = self._hold.apply(self.scope)
            self._held, self._bare = True, None
        except Exception as error:  # of whatever library, as above
            if inode_of(self.scope.netns) is None:  # it went in this moment
                return
            self._bare = f"scope {name} is not held: {error}"
        else:
            if done is not None:
                self._tell(f"scope {name}: {done} until its rules can be had")
        if self._bare is not None and self._bare != bare:
            self._tell(self._bare)

    @property
    def inode(self) -> int | None:
        """The identity of the namespace that is closed off; None where none is."""
        if self._enforcer is None:
            return None
        return os.fstat(self._enforcer.namespace_descriptor).st_ino

    async def stop(self) -> None:
        """End the gate; the rules refuse what comes then."""
        if self.guarded is not None:
            self.guarded.stop_mending()
            await self.guarded.keeper.stop()

    def remove(self) -> None:
        """Take rules, routes and listeners away."""
        if self.guarded is not None:
            self.guarded.stop_mending()
        if self._enforcer is not None:
            self._enforcer.remove()
        if self._held:
            with contextlib.suppress(RamnetError):  # its namespace is gone, and the hold with it
                self._hold.release(self.scope)
        self._enforcer = self.guarded = None

    def close(self) -> None:
        """Let go of listeners and namespace; the rules stay."""
        if self.guarded is not None:
            self.guarded.stop_mending()
        if self._enforcer is not None:
            self._enforcer.close()
        self._enforcer = self.guarded = None

    def describe(self) -> dict[str, Any]:
        """This scope in ``ramnet status``."""
        if self.guarded is not None:
            state = "absent" if self._absent else "guarded"
            return {**self.guarded.describe(), "state": state}
        return {
            "name": self.scope.name,
            "netns": self.scope.netns,
            "cgroup": self.scope.cgroup,
            "state": "closed" if self.closed_off or self._held else "waiting",
            "tier": None,
            "reason": self._waiting,
            "scoping": None,
            "gate_pid": None,
            "gate_ready": False,
            "restarts": 0,
            "rules": {"intact": False, "problem": self._waiting, "refused_packets": None},
        }

    async def _leave(self, others: "Sequence[ScopeLife]") -> None:
        """Close off the namespace of now, then let the one before go."""
        old, guarded, before = self._enforcer, self.guarded, self.inode
        self.close_off(others)
        if old is None or self.inode == before:
            return
        self.guarded = None
        if guarded is not None:
            guarded.stop_mending()
            await guarded.keeper.stop()
        old.leave()
        self._tell(f"scope {self.scope.name}: its network namespace is another one now")

    def _note_absence(self, absent: bool) -> None:
        if absent and not self._absent and self.guarded is not None:
            self._tell(
                f"scope {self.scope.name}: its network namespace is gone; the rules of the old one "
                "stay until there is another"
            )
        self._absent = absent

    def _wait(self, reason: str) -> None:
        reason = reason.removeprefix(f"scope {self.scope.name}: ")
        if reason != self._waiting:
            self._tell(f"scope {self.scope.name}: waiting: {reason}")
        self._waiting = reason

    def _check_apart(self, enforcer: Enforcing, others: "Sequence[ScopeLife]") -> None:
        """Two names of one namespace are seen here only, where it is open."""
        inode = os.fstat(enforcer.namespace_descriptor).st_ino
        mine = enforcer.describe()["scoping"]
        for other in others:
            if other is self or other.inode != inode:
                continue
            assert other._enforcer is not None
            if _WHOLE in (mine, other._enforcer.describe()["scoping"]):
                raise ConfigError(
                    f"scopes {other.scope.name!r} and {self.scope.name!r} are in one network "
                    "namespace, and one of them is for the whole of it"
                )
