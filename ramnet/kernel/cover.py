"""The table that covers containers, in the kernel: put, read back, kept current, mended."""

import time
from collections.abc import Container
from dataclasses import replace

from ramnet import ruleset
from ramnet.caveats.cover import is_coverable
from ramnet.errors import KernelRefusedError
from ramnet.kernel import listeners, tamper
from ramnet.kernel.netns import Namespace
from ramnet.kernel.nft import Nft
from ramnet.kernel.routes import ROUTE_PROTOCOL
from ramnet.kernel.survey import Survey
from ramnet.kernel.watch import Change, Watch
from ramnet.ruleset import cover, grammar
from ramnet.ruleset.table import has_flags


class CoverRules:
    """Of one scope, beside its own table.

    Attributes:
        listeners: the gate's sockets for what is redirected here.
        covered: whose traffic it is, as last told.
    """

    def __init__(
        self, namespace: Namespace, survey: Survey, table: str, whole: frozenset[str]
    ) -> None:
        """``whole``: bridges that are covered as they are. Nothing is put yet."""
        self._namespace, self._survey, self.table = namespace, survey, table
        self._whole = whole
        self._nft = namespace.call(Nft)
        self._watch = namespace.call(Watch, table, ROUTE_PROTOCOL)
        self._ports: ruleset.Ports | None = None
        self._put: tuple[ruleset.Situation, frozenset[str]] | None = None
        self._expected: str | None = None
        self._until = 0.0
        """On the monotonic clock: when the lease of ``covered.others`` is over."""
        self.listeners: listeners.Listeners = {}
        self.covered = cover.Covered(whole)

    def listen(self) -> frozenset[int]:
        """Open the listeners; their ports. Raises KernelRefusedError."""
        self._ports, self.listeners = self._namespace.call(listeners.open_cover)
        return frozenset({self._ports.resolver, self._ports.proxy})

    def install(self) -> None:
        """Put the table; what an earlier one knew of containers holds until Docker has told.

        A service that ends and starts all the time prolongs no lease by it.
        """
        self._recall()
        self._apply()

    def plan(self, ports: ruleset.Ports) -> str:
        """The text that ``install`` would apply for a gate with these ports; nothing is set."""
        self._recall()
        situation, own = self._surroundings()
        covered = self._with_what_is_left()
        return cover.render_table(self.table, situation, ports, covered, own)

    def _recall(self) -> None:
        standing = self._namespace.call(self._nft.listing, self.table)
        if standing is not None:
            leases = self._namespace.call(self._nft.leases, self.table)
            self.covered = _known(standing, self._whole, leases)
            self._until = time.monotonic() + min(leases.values(), default=0)

    def follow(self, watched: frozenset[str], others: frozenset[str]) -> None:
        """Cover these from now on, in one transaction, and ``others`` not for the time of a lease.

        Raises KernelRefusedError.
        """
        fit = frozenset(filter(is_coverable, watched))
        before, self.covered = self.covered, cover.Covered(self._whole, fit, others, cover.LEASE)
        self._until = time.monotonic() + cover.LEASE
        self._change(before, renewed=True)

    def watch_also(self, bridges: frozenset[str]) -> None:
        """Cover all on these too but for the others of now. Raises KernelRefusedError."""
        fit = frozenset(filter(is_coverable, bridges))
        before = self.covered
        self.covered = replace(before, watched=before.watched | fit)
        self._change(before)

    def refresh(self) -> None:
        """Bring the sets up to date with addresses and networks. Raises KernelRefusedError."""
        if self._put is not None:
            self._change(self.covered)

    def tampered(self) -> Change:
        """What another hand has changed since the last call."""
        return self._watch.read() if self._put is not None else Change()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Readable as soon as anything changes rules; ``tampered`` reads them."""
        return self._watch.descriptors

    def restore(self, *, sets: bool) -> str:
        """Set again what is not as installed; what was found changed, empty if nothing was."""
        if self._put is None:
            return ""
        found = self._chains()
        if found == self._expected and not sets:
            return ""
        expected = self._expected
        self._apply()
        said = tamper.difference(expected, found)
        return f"containers' rules: {said}" if said else ""

    def intact(self) -> bool:
        """Whether the rules stand in the kernel as they were installed."""
        return self._put is not None and self._chains() == self._expected

    def remove(self) -> None:
        """Take the table away."""
        if self._chains() is not None:
            self._run(f"delete table inet {self.table}\n")
        self._put = None

    def close(self) -> None:
        """Let go of listeners and sockets; the rules stay, and lead to nobody."""
        listeners.close_listeners(self.listeners)
        self._watch.close()
        self._nft.close()

    def _apply(self) -> None:
        assert self._ports is not None
        situation, own = self._surroundings()
        if not situation.capabilities.ownership and has_flags(self._chains()):
            situation = replace(situation, flagged=frozenset({("inet", self.table)}))
        covered = self._with_what_is_left()
        self._run(cover.render_table(self.table, situation, self._ports, covered, own))
        self._watch.made_it()
        self._expected = self._chains()
        if self._expected is None:
            raise KernelRefusedError("the kernel took the rules and does not list them")
        self._put = situation, own

    def _with_what_is_left(self) -> cover.Covered:
        """Setting the table anew says nothing of whose an address is by now."""
        left = self._until - time.monotonic()
        others = self.covered.others if left > 0 else frozenset[str]()
        return replace(self.covered, others=others, lease=max(left, 0.001))

    def _change(self, before: cover.Covered, *, renewed: bool = False) -> None:
        if self._put is None:
            return
        situation, own = self._surroundings()
        held = cover.contents(self._put[0], before, self._put[1])
        wanted = cover.contents(situation, self.covered, own)
        text = cover.changes(self.table, held, wanted, renewed=renewed)
        if text:
            try:
                self._run(text)
            except KernelRefusedError:  # the table is not as it was: put all of it
                self._apply()
        self._put = situation, own

    def _surroundings(self) -> tuple[ruleset.Situation, frozenset[str]]:
        # Ports of the scope are not asked by these rules, so none are read.
        return self._survey.situation(frozenset()), self._survey.near.addresses

    def _run(self, text: str) -> None:
        self._namespace.call(self._nft.apply, text)

    def _chains(self) -> str | None:
        return self._namespace.call(self._nft.chains, self.table)


def _known(listing: str, whole: frozenset[str], leased: Container[str]) -> cover.Covered:
    """What the sets of a table of an earlier run hold; of others those whose lease still runs."""
    try:
        sets = grammar.parse_table(listing).sets
    except grammar.GrammarError:
        return cover.Covered(whole)
    words = {name: frozenset(map(str, items)) for name, items in sets.items()}
    others = words.get("others4", frozenset()) | words.get("others6", frozenset())
    plain = frozenset(each.partition("/")[0] for each in others)
    known = frozenset(each for each in plain if each in leased)
    return cover.Covered(whole, words.get("watched", frozenset()), known)
