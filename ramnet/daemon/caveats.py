"""Gathers the facts for ``ramnet caveats``: from a running service, else by itself."""

import os
from pathlib import Path
from typing import Any, Final

from ramnet.caveats.facts import Facts, PolicyFacts, ScopeFacts, Unseen
from ramnet.config import Config, Scope
from ramnet.daemon.client import ask
from ramnet.errors import NamespaceAbsentError, NotRunningError, RamnetError
from ramnet.kernel.machine_facts import gather as gather_machine
from ramnet.policy import Document, findings, read_document

MAX_EXAMINED: Final = 16 << 20
"""Bytes of a policy whose entries are looked at one by one (some 300,000 entries)."""


def gather(config: Config) -> Facts:
    """Look at everything once. What cannot be looked at becomes ``Unseen``, never an error."""
    known, own = _enforced(config)
    machine = gather_machine(config.scopes, known, own)
    return Facts(
        config=config,
        kernel_release=machine.kernel_release,
        scopes=machine.scopes,
        dockers=machine.dockers,
        processes=machine.processes,
        homes=machine.homes,
        policy=_policy(Path(config.policy)),
    )


def _enforced(config: Config) -> tuple[list[ScopeFacts], set[int]]:
    """How each scope is enforced, and the service's processes."""
    try:
        status = ask(config.control_socket, "GET", "/v1/status")
        told = {each["name"]: each for each in status["scopes"]}
        own = {int(status["supervisor"]["pid"]), *(_gate(each) for each in told.values())} - {0}
        return [_told(scope, told.get(scope.name, {})) for scope in config.scopes], own
    except NotRunningError:
        return [_probed(config, scope) for scope in config.scopes], set()
    except (RamnetError, KeyError, TypeError, ValueError) as error:
        unseen = Unseen(f"the service's status: {error}")
        return [_scope(scope, unseen) for scope in config.scopes], set()


def _gate(scope: dict[str, Any]) -> int:
    return int(scope["gate_pid"] or 0)


def _told(scope: Scope, told: dict[str, Any]) -> ScopeFacts:
    """By the service's own word; a scope that waits has no tier yet."""
    if told.get("tier") is None:
        return _scope(scope, Unseen(str(told.get("reason") or "the service does not know it")))
    return _described(scope, told)


def _probed(config: Config, scope: Scope) -> ScopeFacts:
    """By what would be applied; the probe leaves nothing behind."""
    if os.geteuid() != 0:
        return _scope(scope, Unseen("the service is not running, and only root can probe"))
    from ramnet.kernel.enforcer import Enforcer

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
        cgroup=scope.cgroup,
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


def _policy(path: Path) -> PolicyFacts | Unseen:
    try:
        data = path.read_bytes()
        document = read_document(data, source=str(path))
    except OSError as error:
        return Unseen(f"{path}: {error.strerror}")
    except RamnetError as error:
        return Unseen(str(error))
    return PolicyFacts(
        str(path), document.enabled, len(document.entries), _broad(document, len(data))
    )


def _broad(document: Document, size: int) -> tuple[str, ...] | Unseen:
    if size > MAX_EXAMINED:
        return Unseen(f"entries of {document.source}, which is large: `ramnet policy validate`")
    try:
        remarks = findings(document)
    except RamnetError as error:
        return Unseen(str(error))
    return tuple(f"{each.key}: {each.text}" for each in remarks if each.code in ("broad", "wide"))
