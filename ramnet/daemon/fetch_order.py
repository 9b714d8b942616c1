"""What the supervisor and the child that fetches say to each other."""

from typing import Annotated, Literal

import msgspec

from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.trust.session import Claims, Rules

Text = Annotated[str, msgspec.Meta(max_length=2000)]


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What to do."""

    task: Literal["fetch", "verify", "token"]
    url: str
    root: bytes
    groups: list[str]
    now: float
    """Unix time."""
    seconds: float
    """For all of it."""
    ca: str | None
    """PEM of further authorities of servers' certificates."""
    spec: GateSpec | None = None
    """How the gate resolves and dials; None where no server is asked."""
    surroundings: Surroundings | None = None
    token: str = ""
    """Of ``token``; empty takes the one that was kept. ``root`` or ``url`` has the keys then."""
    rules: Rules | None = None


class Report(msgspec.Struct, forbid_unknown_fields=True):
    """What came of it; ``error`` is None when all is well."""

    error: Text | None = None
    attack: Text | None = None
    expires: float = 0.0
    seen: float = 0.0
    documents: Annotated[list[Text], msgspec.Meta(max_length=1000)] = []
    claims: Claims | None = None
    requests: int = 0
    received: int = 0
