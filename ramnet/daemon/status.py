"""Pure: the document of ``ramnet status --json``. Its keys are a contract; add, never rename."""

import ipaddress
import os
import time
from typing import Any, Final, Literal

import msgspec

from ramnet import __version__
from ramnet.config import Config
from ramnet.config_values import parse_endpoint
from ramnet.daemon.channel import Adopted
from ramnet.daemon.policy_keeper import PolicyKeeper
from ramnet.daemon.signed_policy import SignedPolicyKeeper

Restriction = Literal["policy", "recorded", "nothing"]
"""What becomes of what the policy does not allow: refused; recorded, and passed; passed."""


def document(
    config: Config,
    *,
    state: str,
    restriction: Restriction,
    uptime: float,
    policy: dict[str, Any],
    session: dict[str, Any],
    scopes: list[dict[str, Any]],
    metrics: dict[str, Any] | None,
    log_level: str,
    warnings: list[str],
) -> dict[str, Any]:
    """All that ``status`` says; ``uptime`` in seconds."""
    return {
        "state": state,
        "restriction": restriction,
        "version": __version__,
        "supervisor": {"pid": os.getpid(), "uptime_s": round(uptime, 1)},
        "policy": policy,
        "session": session,
        "scopes": scopes,
        "exempt": msgspec.to_builtins(config.exempt),
        "metrics": metrics,
        "log_level": log_level,
        "warnings": warnings,
    }


def describe_policy(
    keeper: PolicyKeeper | SignedPolicyKeeper, adopted: Adopted | None, *, follows: bool
) -> dict[str, Any]:
    """The policy in force in its gates' own words, and what became of the newest document.

    ``follows``: no session stands in the policy's place.
    """
    known = adopted if keeper.in_force and follows else None
    return {
        "source": str(keeper.origin) if keeper.origin else None,
        "configured": str(keeper.source),
        "version": known.version if known else None,
        "organization": known.organization if known else None,
        "digest": known.digest if known else None,
        "entries": known.entries if known else None,
        "restricts": adopted.restricts if adopted else True,
        "enforced": known.enforced if known else True,
        "loaded_at": keeper.loaded_at,
        "age_s": round(time.monotonic() - keeper.loaded, 1) if keeper.loaded else None,
        "error": keeper.error,
        "last_good_error": keeper.kept_error,
        "signed": keeper.describe() if isinstance(keeper, SignedPolicyKeeper) else None,
    }


def restriction(adopted: Adopted | None) -> Restriction:
    """By the gates' own words; before any of them has spoken nothing passes."""
    if adopted is not None and not adopted.restricts:
        return "nothing"
    return "policy" if adopted is None or adopted.enforced else "recorded"


UNRESTRICTED: Final = (
    "the policy says enabled = false: nothing is restricted, every registry may be reached"
)
NOT_ENFORCED: Final = (
    "the policy says enforce = false: what it would refuse passes and is recorded (`ramnet events "
    "--denied`); UDP but for DNS (QUIC), other protocols and connections older than the rules are "
    "refused by the kernel's rules all the same"
)


def config_warnings(config: Config) -> list[str]:
    """What ``ramnet.toml`` allows and may not have meant."""
    servers = [*config.resolver.upstream, *(s for z in config.resolver.zones.values() for s in z)]
    loopback = [s for s in servers if _on_loopback(s)]
    found = [
        f"[resolver] {server} is on this machine: unless its user is exempt, its own questions "
        "come back to ramnet"
        for server in loopback
    ]
    if config.resolver.containers_dns == "allow":
        found.append(
            '[resolver] containers_dns = "allow": every name is resolved, whoever asks, so data '
            "can leave in names; connections are decided by the policy all the same"
        )
    nobodys = [e for e in config.exempt if e.uid is None and e.cgroup is None]
    return found + [
        f"[[exempt]] {_target(e.proto, e.address, e.port)} names neither uid nor cgroup: every "
        "program may use it"
        for e in nobodys
    ]


def _on_loopback(server: str) -> bool:
    return ipaddress.ip_address(parse_endpoint(server, 53).address).is_loopback


def _target(proto: str | None, address: str | None, port: int | None) -> str:
    return " ".join(str(part) for part in (proto, address, port) if part is not None)
