"""All scopes of a configuration, one after the other."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ramnet.config import Config, Scope
from ramnet.errors import NamespaceAbsentError, NotRunningError
from ramnet.kernel.examination import Examination, examine
from ramnet.ruleset import promises
from ramnet.verify import listing, live
from ramnet.verify.probes import every_probe
from ramnet.verify.replica import Replica
from ramnet.verify.report import Outcome, Verdict
from ramnet.verify.walk import Walk


def verify(config_path: Path, settings: Config, *, on_machine: bool) -> Iterator[Outcome]:
    """Every outcome, as it comes; ``on_machine`` is ``--live``.

    Raises:
        NotRunningError: ``--live``, and a scope has no rules in force.
        KernelRefusedError: privilege is missing, or the kernel has no tier.
    """
    for scope in settings.scopes:
        try:
            found = listing.settled(partial(examine, settings, scope))
        except NamespaceAbsentError as error:
            yield Outcome(scope.name, promises.STANDING, listing.PROBE, Verdict.NOT_TESTED,
                          "nothing", str(error))  # fmt: skip
            continue
        yield from listing.read(found)
        if on_machine:
            if not found.in_force:
                raise NotRunningError(f"scope {scope.name} has no rules in force: ramnet run")
            yield from live.walk(config_path, settings, found)
        else:
            yield from _walk_replica(scope, found)


def _walk_replica(scope: Scope, found: Examination) -> Iterator[Outcome]:
    replica = Replica(scope)
    try:
        walk = Walk(scope.name, replica.place, replica.capture)
        probes = list(every_probe(replica.place))
        walk.try_bare(probes)
        replica.enforce()
        if found.in_force:
            missing = (d for d in listing.differences(found) if d.what == "missing")
            # The replica covers no containers.
            replica.take_out(d for d in missing if d.table in found.planned.tables)
        yield walk.see()
        for probe in probes:
            yield walk.walk(probe)
    finally:
        replica.close()
