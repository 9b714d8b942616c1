"""Walks the probes in one place: each alone, what left meanwhile is its own."""

from collections.abc import Callable, Iterable

from ramnet.errors import KernelRefusedError
from ramnet.ruleset import promises
from ramnet.verify.capture import Capture, Packet
from ramnet.verify.inside import Answer
from ramnet.verify.probe import UNROUTED, Place, Probe
from ramnet.verify.report import Outcome, Verdict

_BLIND = "the capture does not see its own markers"
_BARE_PATIENCE = 0.02
"""Seconds; what counts is what leaves, not the answer."""
_MOST_SHOWN = 3


class Walk:
    """One scope."""

    def __init__(
        self,
        scope: str,
        place: Place,
        capture: Capture,
        wanted: Callable[[Packet], bool] = lambda _: True,
    ) -> None:
        """``wanted``: packets that can be a probe's; of others nothing is said."""
        self.scope, self.place = scope, place
        self._capture, self._wanted = capture, wanted
        self._proven: set[str] | None = None

    def try_bare(self, probes: Iterable[Probe]) -> None:
        """While no rules stand: find out which probes leave at all."""
        self._proven = set()
        self._capture.seen()
        self.place.inside.patience = _BARE_PATIENCE
        for probe in probes:
            if probe.bare:
                probe.run(self.place)
                if self._seen():
                    self._proven.add(probe.name)
        self.place.inside.patience = None

    def see(self) -> Outcome:
        """Whether the capture sees."""
        proven = self._proven
        sent = "a marker down the wire" + ("" if proven is None else ", and all before the rules")
        if self._seen() is None:
            return self._outcome(promises.SEEN, "capture", Verdict.BROKEN, sent, _BLIND)
        if proven is not None and not proven:
            came = "nothing of what was sent before the rules was seen: nothing here proves a thing"
            return self._outcome(promises.SEEN, "capture", Verdict.BROKEN, sent, came)
        return self._outcome(promises.SEEN, "capture", Verdict.HELD, sent, "seen")

    def walk(self, probe: Probe) -> Outcome:
        """Try one, and judge."""
        why_not = self._why_not(probe)
        if why_not is not None:
            return self._of(probe, Verdict.NOT_TESTED, why_not)
        try:
            answer = probe.run(self.place)
        except KernelRefusedError as error:
            return self._of(probe, Verdict.NOT_TESTED, str(error))
        packets = self._seen()
        if packets is None:
            return self._of(probe, Verdict.NOT_TESTED, _BLIND)
        return self._judge(probe, answer, packets)

    def _why_not(self, probe: Probe) -> str | None:
        if probe.bench and self.place.far is None:
            return "nobody else's server is asked (without --live it is tried on the bench)"
        if probe.bare and self._proven is not None and probe.name not in self._proven:
            return "it does not leave where there are no rules either"
        return probe.why_not(self.place)

    def _judge(self, probe: Probe, answer: Answer, packets: list[Packet]) -> Outcome:
        place = self.place
        leaked = [
            packet
            for packet in packets
            if not (probe.may_leave(place, packet) or _is_the_end(place, packet))
        ]
        if leaked:
            shown = "; ".join(map(str, leaked[:_MOST_SHOWN]))
            return self._of(probe, Verdict.LEAKED, f"{len(leaked)} packets left: {shown}")
        must = probe.must_leave
        if must is not None and not any(must(place, packet) for packet in packets):
            return self._of(probe, Verdict.BROKEN, "it did not leave")
        if answer.error in UNROUTED:
            return self._of(probe, Verdict.NOT_TESTED, f"no way there ({answer.error})")
        wrong = probe.judge(place, answer)
        if wrong is not None:
            return self._of(probe, Verdict.BROKEN, wrong)
        return self._of(probe, Verdict.HELD, str(answer))

    def _seen(self) -> list[Packet] | None:
        packets = self._capture.seen(self._wanted)
        return packets and [packet for packet in packets if not packet.is_housekeeping()]

    def _of(self, probe: Probe, verdict: Verdict, came: str) -> Outcome:
        return self._outcome(probe.promise, probe.name, verdict, probe.sent, came)

    def _outcome(
        self, promise: promises.Promise, probe: str, verdict: Verdict, sent: str, came: str
    ) -> Outcome:
        return Outcome(self.scope, promise, probe, verdict, sent, came)


def _is_the_end(place: Place, packet: Packet) -> bool:
    """The gate's connection of an earlier probe, to what is allowed, being closed."""
    return packet.destination in place.allowed.values() and packet.closes_tcp()
