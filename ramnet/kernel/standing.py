"""The rules of one scope in the kernel: put in one transaction, read back, kept, mended."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ramnet import ruleset
from ramnet.errors import KernelRefusedError
from ramnet.kernel import loopback, routes, tamper
from ramnet.kernel.netns import Namespace
from ramnet.kernel.nft import Nft
from ramnet.kernel.scoping import Scoping
from ramnet.kernel.survey import Survey
from ramnet.kernel.tables import Tables
from ramnet.kernel.watch import Change, Watch
from ramnet.ruleset import anyip, redirect
from ramnet.ruleset.table import has_flags, is_owned

_TRIES: Final = 5
"""How often the rules are put and read while others go on changing theirs."""
_REFUSED_KINDS: Final = ("tcp", "udp", "other")


class Standing:
    """What stands in the namespace, and what ought to.

    Attributes:
        installed: what the rules were planned from; None before the first ``apply``.
        sinkhole6: whether the route to the IPv6 sinkhole is to be there.
    """

    def __init__(
        self, namespace: Namespace, survey: Survey, scoping: Scoping, tier: ruleset.Tier
    ) -> None:
        """Watch the scope's table; nothing is put yet."""
        self._namespace, self._survey, self._scoping = namespace, survey, scoping
        self._whole = tier is ruleset.Tier.ANYIP
        """The state is more than one table: it is compared and set again as a whole."""
        self._table = scoping.table
        self._nft = namespace.call(Nft)
        self._tables = Tables(namespace, self._nft)
        self._watch = namespace.call(Watch, self._table, routes.ROUTE_PROTOCOL)
        self._generation = 0
        self._expected: str | None = None
        self._astray: set[str] = set()
        """Sinkholes that this machine's own policy routing sends elsewhere, route or no route."""
        self.installed: ruleset.Situation | None = None
        self.sinkhole6 = False

    def apply(self) -> None:
        """Set the whole desired state from what is true now; again and again if need be.

        Raises:
            KernelRefusedError: the kernel took less than all of it.
        """
        self._scoping.renew()
        if self.installed is None and is_owned(self._listing(self._table)):
            raise KernelRefusedError(f"another process owns the table inet {self._table}")
        situation = self._read_all()
        if self._whole:
            self._put_whole(situation)
        else:
            self._keep_loopback()
            self._expected = self._put_and_read(situation)
        self.installed = situation

    def _put_whole(self, situation: ruleset.Situation) -> None:
        """What is read back must be ours alone here too."""
        state = ruleset.plan_state(situation)
        for _ in range(_TRIES):
            ours = self._watch.generation() + 1
            text = ruleset.render_table(self._with_flags(situation))
            self._tables.apply(state, this_once=text)
            if self._watch.generation() in (ours, 0):
                break
        self._watch.made_it()

    def plan(self) -> ruleset.KernelState:
        """What ``apply`` would set, with nothing set."""
        return ruleset.plan_state(self.situation_now())

    def situation_now(self) -> ruleset.Situation:
        """What rules are planned from, read anew."""
        return self._with_flags(self._read_all())

    def _read_all(self) -> ruleset.Situation:
        if self._whole:
            self._survey.note_sysctls(self._listing(ruleset.TABLE) or "")
        standing = self._listing(self._table)
        return self._survey.read_all(standing, installed=self.installed is not None)

    def _with_flags(self, situation: ruleset.Situation) -> ruleset.Situation:
        """With what stands now: a table that an owner left is replaced in another way."""
        if situation.capabilities.ownership:
            return situation
        flagged = frozenset(
            (family, name)
            for family, name in ruleset.plan_state(situation).tables
            if has_flags(self._namespace.call(self._nft.chains, name, family))
        )
        return replace(situation, flagged=flagged)

    def _put_and_read(self, situation: ruleset.Situation) -> str:
        """The listing of what we put there, and of nothing that another hand added meanwhile."""
        listing = None
        for _ in range(_TRIES):
            ours = self._watch.generation() + 1
            self._put(situation)
            listing = self._chains()
            if listing is not None and self._watch.generation() in (ours, 0):
                break
        if listing is None:
            raise KernelRefusedError("the kernel took the rules and does not list them")
        return listing

    def _put(self, situation: ruleset.Situation) -> None:
        self._run(ruleset.render_table(self._with_flags(situation)))
        self._watch.made_it()

    @property
    def tamper_descriptors(self) -> tuple[int, ...]:
        """Readable as soon as anything changes rules or routes; ``tampered`` reads them."""
        return self._watch.descriptors

    def tampered(self) -> Change:
        """What another hand has changed since the last call."""
        return self._watch.read() if self.installed is not None else Change()

    def restore(self, *, sets: bool) -> str:
        """Set again what is not as installed; what was found changed, empty if nothing was.

        ``sets`` says that elements may have been changed, which the comparison does not see.
        """
        if self.installed is None:
            return ""
        if self._whole:
            return self._restore_whole(sets=sets)
        before = self._chains()
        changed = before != self._expected
        if changed or sets:
            self._put(self.installed)  # closed again; the rest may take longer
        found = [tamper.difference(self._expected, before)]
        found += self._namespace.call(routes.restore_sinkhole_routes)
        found += self._keep_loopback()
        self._astray = {each for each in self._sinkholes() if not self._watch.route_stands(each)}
        if changed:
            # Without our rules conntrack may not have run: what got out meanwhile is to be cut.
            self._survey.add_old_connections()
        if changed or sets:
            self.apply()
        return "; ".join(filter(None, found))

    def _restore_whole(self, *, sets: bool) -> str:
        rules = self._tables.put_rules(whatever=sets)  # closed again; the rest may take longer
        found = [] if rules is None else [rules]
        found += self._namespace.call(routes.restore_sinkhole_routes)
        if not self._tables.routing_stands():
            found.append("routing rules, routes or sysctls were changed")
        if rules is not None:
            self._survey.add_old_connections()
        if found or sets:
            self.apply()
        return "; ".join(found)

    def refresh(self) -> bool:
        """Bring the sets up to date; True if addresses or container networks changed."""
        if self.installed is None:
            return False
        if self._scoping.moved():
            self.apply()
        if self._whole:
            return self._refresh_whole()
        listening = self._survey.listening_ports()
        if listening != self.installed.listening:
            self._follow_listening(self.installed.listening, listening)
        changed = self._survey.near_may_have_changed() and self._refresh_near()
        if changed or listening != self.installed.listening:
            self.installed = self._survey.situation(listening)
        return changed

    def _follow_listening(self, before: frozenset[int], now: frozenset[int]) -> None:
        """Tell what changed: any user may listen on all ports, and the whole set costs seconds."""
        gone, come = (map(str, sorted(ports)) for ports in (before - now, now - before))
        try:
            self._change_sets(redirect.render_changes("listening", gone, come, self._table))
        except KernelRefusedError:  # somebody else changed the set
            self._replace("listening", map(str, sorted(now)))

    def _refresh_whole(self) -> bool:
        """Without sets, networks stand in the rules themselves."""
        if not self._survey.near_may_have_changed() or not self._survey.read_near():
            return False
        self.apply()
        return True

    def _refresh_near(self) -> bool:
        if not self._survey.read_near():
            return False
        near = self._survey.near
        self._replace("containers4", sorted(near.containers4))
        self._replace("containers6", sorted(near.containers6))
        self._replace("bridges", map(str, sorted(near.bridges)))
        return True

    def _replace(self, name: str, elements: Iterable[str]) -> None:
        self._change_sets(redirect.render_elements(name, elements, self._table))

    def _change_sets(self, text: str) -> None:
        before = self._watch.generation()
        self._run(text)
        if before == self._generation and self._watch.generation() == before + 1:
            self._generation = before + 1

    def intact(self) -> bool:
        """Whether rules and routes stand in the kernel as they were installed."""
        stand = self._watch.route_stands
        routed = all(stand(each) for each in self._sinkholes() - self._astray)
        return self._rules_intact() and routed and self._loopback_stays()

    def _loopback_stays(self) -> bool:
        if self._whole or self.installed is None:
            return True
        return self._namespace.call(loopback.stays, *self._listened())

    def _keep_loopback(self) -> list[str]:
        return self._namespace.call(loopback.keep, *self._listened())

    def _listened(self) -> tuple[int, frozenset[int]]:
        return self._survey.ports.resolver, self._survey.gate_ports

    def _sinkholes(self) -> set[str]:
        return {ruleset.SINKHOLE4} | ({ruleset.SINKHOLE6} if self.sinkhole6 else set())

    def _rules_intact(self) -> bool:
        if self._whole and not self._tables.routing_stands():
            return False
        generation = self._watch.generation()
        if generation and generation == self._generation:
            return True  # no transaction since they were last read
        whole = self._whole
        stand = self._tables.rules_stand() if whole else self._chains() == self._expected
        self._generation = generation if stand else 0
        return stand

    def refused(self) -> dict[str, int]:
        """Packets that the rules refused, by protocol."""
        counted = self._namespace.call(self._nft.counters, self._table)
        return dict(zip(_REFUSED_KINDS, counted.get("refuse", ()), strict=False))

    def refuse_without_gate(self) -> None:
        """Tier anyip: the way to the gate is about to go.

        Raises:
            KernelRefusedError: somebody took the rules away.
        """
        self._run(anyip.without_gate(self.installed or self._survey.situation()))

    def remove(self, tables: frozenset[str]) -> None:
        """Take away these tables, and with ``TABLE`` all of tier anyip, whoever applied them."""
        if ruleset.TABLE in tables:
            before = self._survey.sysctls_before(self._listing(ruleset.TABLE) or "")
            self._tables.remove(anyip.all_of_it(), before)
        for table in tables:
            self.delete(table)

    def delete(self, table: str) -> None:
        """Take one table of family inet away, where it is there."""
        if self._listing(table) is not None:
            self._run(f"delete table inet {table}\n")

    def close(self) -> None:
        """Watch no longer and own nothing; the rules stay."""
        self._watch.close()
        self._nft.close()

    def _run(self, text: str) -> None:
        self._namespace.call(self._nft.apply, text)

    def _chains(self) -> str | None:
        return self._namespace.call(self._nft.chains, self._table)

    def _listing(self, table: str) -> str | None:
        return self._namespace.call(self._nft.listing, table)
