"""The policy in force, and the one place where the gate asks it.

Resolver and proxy hold the same ``Judge``, so a new policy is in force for both at one moment.
"""

from collections.abc import Callable

from ramnet.errors import PolicyError
from ramnet.policy import Outcome, Policy, Verdict

_DAMAGED = Verdict(Outcome.DENIED, "the policy in memory is damaged")


class Judge:
    """Answers for whichever policy was given last."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._subscribers: list[Callable[[], None]] = []

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    @property
    def restricts(self) -> bool:
        """False where the policy says that nothing is restricted (Docker's ``enabled: false``)."""
        return self._policy.enabled

    @property
    def enforces(self) -> bool:
        """False where nothing is to be refused: it restricts nothing, or ``enforce = false``."""
        return self._policy.enabled and self._policy.enforced

    def replace(self, policy: Policy) -> None:
        """Put ``policy`` in force, then tell every subscriber."""
        self._policy = policy
        for subscriber in tuple(self._subscribers):
            subscriber()

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called after each replacement."""
        self._subscribers.append(changed)

    def decide(self, name: str, port: int | None = None) -> Verdict:
        """The verdict on a normalised name; ``port`` None asks for any port."""
        try:
            return self._policy.decide(name, port)
        except PolicyError:
            return _DAMAGED

    def sentence(self, host: str, *, ascii: bool = False) -> str:  # noqa: A002 - Policy's name
        """What the person reads when ``host`` is refused."""
        return self._policy.sentence(host, ascii=ascii)
