"""Gathers the facts for ``ramnet caveats``: from a running service, else by itself."""

import os
from dataclasses import replace
from typing import Any

from ramnet.caveats.facts import Facts, ScopeFacts, SignedFacts, Unseen
from ramnet.config import Config, Scope
from ramnet.daemon import policy_facts
from ramnet.daemon.client import ask
from ramnet.errors import NamespaceAbsentError, NotRunningError, RamnetError
from ramnet.kernel.machine_facts import gather as gather_machine


def gather(config: Config) -> Facts:
    """Look at everything once. What cannot be looked at becomes ``Unseen``, never an error."""
    status = _status(config)
    known, own = _enforced(config, status)
    machine = gather_machine(config.scopes, known, own)
    return Facts(
        config=config,
        kernel_release=machine.kernel_release,
        scopes=machine.scopes,
        dockers=machine.dockers,
        processes=machine.processes,
        homes=machine.homes,
        policy=policy_facts.look(config),
        signed=_signed(status) if config.signed else None,
    )


def _status(config: Config) -> dict[str, Any] | Unseen | None:
    """The service's; None where it does not run."""
    try:
        status = ask(config.control_socket, "GET", "/v1/status")
    except NotRunningError:
        return None
    except RamnetError as error:
        return Unseen(f"the service's status: {error}")
    return status if isinstance(status, dict) else Unseen("the service's status makes no sense")


def _signed(status: dict[str, Any] | Unseen | None) -> SignedFacts | Unseen:
    if not isinstance(status, dict):
        return status or Unseen("the service is not running")
    try:
        signed = status["policy"]["signed"]
        return SignedFacts(str(signed["state"]), str(signed["expires"]), str(signed["on_stale"]))
    except (KeyError, TypeError) as error:
        return Unseen(f"the service's status: {error!r}")


def _enforced(
    config: Config, status: dict[str, Any] | Unseen | None
) -> tuple[list[ScopeFacts], set[int]]:
    """How each scope is enforced, and the service's processes."""
    if status is None:
        return [_probed(config, scope) for scope in config.scopes], set()
    if isinstance(status, Unseen):
        return [_scope(scope, status) for scope in config.scopes], set()
    try:
        told = {each["name"]: each for each in status["scopes"]}
        own = {int(status["supervisor"]["pid"]), *(_gate(each) for each in told.values())} - {0}
        return [_told(scope, told.get(scope.name, {})) for scope in config.scopes], own
    except (KeyError, TypeError, ValueError) as error:
        unseen = Unseen(f"the service's status: {error!r}")
        return [_scope(scope, unseen) for scope in config.scopes], set()


def _gate(scope: dict[str, Any]) -> int:
    return int(scope["gate_pid"] or 0)


def _told(scope: Scope, told: dict[str, Any]) -> ScopeFacts:
    """By the service's own word; a scope that waits has no tier yet."""
    if told.get("tier") is None:
        return _scope(scope, Unseen(str(told.get("reason") or "the service does not know it")))
    return replace(_described(scope, told), covers=_covers(told))


def _covers(told: dict[str, Any]) -> frozenset[str]:
    """Only what was heard from Docker, and with the rules there as they were put."""
    cover = told.get("cover")
    if not cover or cover["problem"] or not told["rules"]["intact"] or told["rules"]["problem"]:
        return frozenset()
    return frozenset(map(str, cover["covered"]))


def _probed(config: Config, scope: Scope) -> ScopeFacts:
    """By what would be applied; the probe leaves nothing behind."""
    if os.geteuid() != 0:
        return _scope(scope, Unseen("the service is not running, and only root can probe"))
    from ramnet.kernel.enforcer import Enforcer
    from ramnet.kernel.uninterrupted import uninterrupted

    with uninterrupted():
        try:
            enforcer = Enforcer(config, scope)
        except (NamespaceAbsentError, RamnetError) as error:
            return _scope(scope, Unseen(str(error)))
        try:
            return _described(scope, enforcer.describe())
        finally:
            enforcer.close()


def _described(scope: Scope, described: dict[str, Any]) -> ScopeFacts:
    return ScopeFacts(
        name=scope.name,
        cgroup=described["cgroup"],
        netns=0,
        means=str(described["scoping"]),
        reason=str(described["scoping_reason"]),
        tier=str(described["tier"]),
        missing=tuple(map(str, described["missing_capabilities"])),
    )


def _scope(scope: Scope, unseen: Unseen) -> ScopeFacts:
    return ScopeFacts(
        name=scope.name, cgroup=scope.cgroup, netns=unseen, means=unseen, missing=unseen
    )
