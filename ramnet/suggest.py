"""Pure: which hosts a policy lacks, from the audit log: where allowed registries sent clients.

The gate writes an event beside a refusal that looks like a redirect's (``audit.Redirect``). A
request that named its sender is proof enough. Time alone is not: it counts only where each
refusal of the host came right after the same registry had answered its client; a host that was
refused on any other occasion was asked for by itself.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from ramnet.audit import Event, Redirect
from ramnet.policy.decision import Outcome, Policy
from ramnet.policy.document import Document
from ramnet.policy.index import compile_policy
from ramnet.policy.name import split_host_port
from ramnet.policy.presets import preset_of
from ramnet.policy.shared import is_shared

WINDOW: Final = 2.0
"""Seconds between answer and refusal; what a person asks for next comes later."""
_HTTPS: Final = 443


class Suggestion(msgspec.Struct, frozen=True):
    """One host that may be missing. Times as in the events."""

    host: str
    port: int
    registries: list[str]
    """Which sent clients there."""
    certain: bool
    """The requests themselves said so; else it is concluded from time and client."""
    refusals: int
    """Those with a proof of it."""
    first: str
    last: str
    seconds: float | None
    """The longest time between answer and refusal, where that is the proof."""
    clients: list[str]
    preset: str | None
    """The preset that has this host, and the rest of what the registry needs."""
    line: str
    """For policy.toml."""
    shared: bool
    """Strangers have things on that host too: it allows more than this registry."""


def suggest(events: Iterable[Event], policy: Policy) -> list[Suggestion]:
    """What to add to ``policy``; in the order of the first refusals.

    Hosts that it allows by now, and those that it denies by an entry, are left out.
    """
    refused: dict[tuple[str, int], int] = {}
    proofs: dict[tuple[str, int], list[Event]] = {}
    for event in events:
        if event.name is None or event.port is None or event.kind == "dns":
            continue
        place = (event.name, event.port)
        if event.verdict == "refused":
            refused[place] = refused.get(place, 0) + 1
        elif event.redirect is not None:
            proofs.setdefault(place, []).append(event)
    made = []
    for place, found in proofs.items():
        if policy.decide(*place).outcome is Outcome.UNLISTED:
            kept = _convincing(found, refused.get(place, 0))
            if kept:
                made.append(_suggestion(*place, kept))
    return made


def _convincing(found: list[Event], refusals: int) -> list[Event]:
    said = [event for event in found if _proof(event).proof == "referrer"]
    if said:
        return said
    timed = [event for event in found if (_proof(event).seconds or 0) <= WINDOW]
    senders = {_proof(event).by for event in timed}
    return timed if len(timed) >= refusals and len(senders) == 1 else []


def _proof(event: Event) -> Redirect:
    assert event.redirect is not None
    return event.redirect


def _suggestion(host: str, port: int, found: list[Event]) -> Suggestion:
    proofs = [_proof(event) for event in found]
    registries = list(dict.fromkeys(proof.by for proof in proofs))
    waits = [proof.seconds for proof in proofs if proof.seconds is not None]
    preset = next(filter(None, (_preset(registry, host, port) for registry in registries)), None)
    text = host if port == _HTTPS else f"{host}:{port}"
    return Suggestion(
        host=host,
        port=port,
        registries=registries,
        certain=proofs[0].proof == "referrer",
        refusals=len(found),
        first=found[0].time,
        last=found[-1].time,
        seconds=max(waits, default=None),
        clients=sorted({proof.client for proof in proofs if proof.client}),
        preset=preset,
        line=f'presets = ["{preset}"]' if preset else f'[[registry]]\nhost = "{text}"',
        shared=is_shared(host, below=False) or is_shared(host.partition(".")[2], below=False),
    )


def _preset(registry: str, host: str, port: int) -> str | None:
    """The preset of ``registry``, if ``host`` is among what it allows."""
    use = preset_of(split_host_port(registry)[0])
    if use is None:
        return None
    alone = Document(docker_hub=False, presets=(use.text,))
    return use.text if Policy(compile_policy(alone)).decide(host, port).allowed else None
