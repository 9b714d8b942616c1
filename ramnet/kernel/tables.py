"""A ``KernelState`` put into a network namespace, read back, and taken away again."""

from ramnet.errors import KernelRefusedError
from ramnet.kernel import sysctl, tamper
from ramnet.kernel.netns import Namespace
from ramnet.kernel.nft import Nft
from ramnet.kernel.policy_routing import remove_routing, routing_stands, set_routing
from ramnet.ruleset import KernelState


class Tables:
    """What stands in one namespace; routes first and rules last, in one transaction."""

    def __init__(self, namespace: Namespace, nft: Nft) -> None:
        self._namespace, self._nft = namespace, nft
        self._state: KernelState | None = None
        self._expected: list[str | None] = []

    def apply(self, state: KernelState, *, this_once: str | None = None) -> None:
        """Set the whole of ``state``, the listeners aside.

        ``this_once`` is for its text, where what stands now must be replaced in another way.

        Raises:
            KernelRefusedError: the kernel took less than all of it.
        """
        call = self._namespace.call
        if state.rules:
            call(set_routing, state)
            call(sysctl.write, state.sysctls)
        call(self._nft.apply, this_once or state.text)
        self._expected = self._listings(state)
        if None in self._expected:
            raise KernelRefusedError("the kernel took the rules and does not list them")
        self._state = state

    def put_rules(self, *, whatever: bool) -> str | None:
        """Set the rules as they were, if they are not or ``whatever`` they are.

        Routes and sysctls stay as they are: this is to be quick. Returns what another hand had
        changed, in words; None where it was nothing.

        Raises:
            KernelRefusedError: the kernel does not take them any more.
        """
        if self._state is None:
            return None
        expected, found = self._expected, self._listings(self._state)
        if whatever or found != expected:
            self._namespace.call(self._nft.apply, self._state.text)
        said = map(tamper.difference, expected, found)  # takes its time
        return "; ".join(filter(None, said)) or None

    def rules_stand(self) -> bool:
        """Whether the rules stand as they were applied."""
        return self._state is not None and self._listings(self._state) == self._expected

    def routing_stands(self) -> bool:
        """Whether sysctls, routes and routing rules do."""
        state = self._state
        if state is None or not state.rules:
            return state is not None
        call = self._namespace.call
        here = dict(call(sysctl.read, [key for key, _ in state.sysctls]))
        sysctls = all(here.get(key, value) == value for key, value in state.sysctls)
        return sysctls and call(routing_stands, state)

    def remove(self, state: KernelState, sysctls_before: tuple[tuple[str, int], ...]) -> None:
        """Take everything of ``state`` away, whoever applied it; sysctls become as they were."""
        call = self._namespace.call
        for family, name in state.tables:
            if call(self._nft.listing, name, family) is not None:
                call(self._nft.apply, f"delete table {family} {name}\n")
        if state.rules:
            call(remove_routing, state)
            call(sysctl.write, sysctls_before)

    def _listings(self, state: KernelState) -> list[str | None]:
        call = self._namespace.call
        return [call(self._nft.chains, name, family) for family, name in state.tables]
