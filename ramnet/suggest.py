"""Pure: which hosts a policy lacks, from the audit log: where allowed registries sent clients.

The gate writes an event beside a refusal whose request named its sender (``audit.Redirect``).
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from ramnet.audit import Event
from ramnet.policy.decision import Outcome, Policy
from ramnet.policy.document import Document
from ramnet.policy.index import compile_policy
from ramnet.policy.name import InvalidNameError, normalise, split_host_port
from ramnet.policy.presets import preset_of
from ramnet.policy.shared import is_shared

_HTTPS: Final = 443


class Suggestion(msgspec.Struct, frozen=True):
    """One host that may be missing. Times as in the events."""

    host: str
    port: int
    registries: list[str]
    """Which sent clients there."""
    refusals: int
    """Those whose request said so."""
    first: str
    last: str
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
    proofs: dict[tuple[str, int], list[Event]] = {}
    for event in events:
        if (
            event.redirect is not None
            and event.name is not None
            and event.port is not None
            and _is_host(f"{event.name}:{event.port}")
            and _is_host(event.redirect.by)
        ):
            proofs.setdefault((event.name, event.port), []).append(event)
    return [
        _suggestion(*place, found)
        for place, found in proofs.items()
        if policy.decide(*place).outcome is Outcome.UNLISTED
    ]


def _is_host(text: str) -> bool:
    """What is suggested is put into a policy: a name must be one, whoever wrote the log."""
    try:
        host, _ = split_host_port(text)
        return normalise(host) == host
    except InvalidNameError:
        return False


def _suggestion(host: str, port: int, found: list[Event]) -> Suggestion:
    registries = list(dict.fromkeys(event.redirect.by for event in found if event.redirect))
    preset = next(filter(None, (_preset(registry, host, port) for registry in registries)), None)
    text = host if port == _HTTPS else f"{host}:{port}"
    return Suggestion(
        host=host,
        port=port,
        registries=registries,
        refusals=len(found),
        first=found[0].time,
        last=found[-1].time,
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
