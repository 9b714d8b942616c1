"""Finds out whether a refused connection follows a redirect of an allowed registry.

Two proofs. The refused request, where it could be read, names who sent it (Referer); one that
names nobody was asked for directly. Where no request could be read (CONNECT, SOCKS, a client that
does not trust our authority), what counts is time: an allowed name had just answered a connection
of the same owner that is still open. Only what was refused is looked at, a few times a second at
most, so that a flood of refusals costs the gate nothing more.
"""

from itertools import islice
from typing import Final

from ramnet.audit import Redirect
from ramnet.gate.proxy.destination import Destination, plain
from ramnet.gate.proxy.flow import Flow, Flows
from ramnet.gate.proxy.owner import Owner, owner_of
from ramnet.gate.proxy.ruling import Decides, rule
from ramnet.wire.http import RequestHead, read_referrer, write_authority
from ramnet.wire.result import Absent

WINDOW: Final = 5.0
"""Seconds between an answer and a refusal that may have come of it."""
_FLOWS_MOST: Final = 1024
"""With more of them open nothing is looked for: it would take too long."""
_ASKED_MOST: Final = 16
"""Owners asked for, newest answers first."""
_LOOKS_A_SECOND: Final = 20


class Redirects:
    """The question, asked of the flows that are open."""

    def __init__(self, flows: Flows, judge: Decides) -> None:
        self._flows, self._judge = flows, judge
        self._second, self._looks = 0, 0

    def by_request(self, head: RequestHead | None) -> Redirect | None:
        """The proof that a refused request brings along; its sender has to be allowed."""
        referrer = read_referrer(head) if head is not None else None
        if referrer is None or isinstance(referrer, Absent):
            return None
        host, port = referrer
        ruling = rule(self._judge, host, port or 443)
        if not ruling.allowed:
            return None
        return Redirect(by=write_authority(ruling.name, port).decode("ascii"), proof="referrer")

    def by_time(self, refused: Flow, now: float) -> Redirect | None:
        """The proof of time; ``now`` on the loop's clock."""
        answered = self._answered(now) if self._may_look(int(now)) else []
        owner = _owner(refused) if answered else None
        if owner is None:
            return None
        for touched, flow in answered[:_ASKED_MOST]:
            if _owner(flow) == owner:
                seconds = round(now - touched, 3)
                return Redirect(
                    by=flow.grounds[-1].name, proof="timing", seconds=seconds, client=str(owner)
                )
        return None

    def _answered(self, now: float) -> list[tuple[float, Flow]]:
        if len(self._flows) > _FLOWS_MOST:
            return []
        found = [
            (flow.relay.touched, flow)
            for flow in islice(self._flows, _FLOWS_MOST)
            if flow.relay and flow.grounds and flow.relay.down.moved and flow.kind != "near"
        ]
        recent = [one for one in found if one[0] >= now - WINDOW]
        return sorted(recent, key=lambda one: one[0], reverse=True)

    def _may_look(self, second: int) -> bool:
        if second != self._second:
            self._second, self._looks = second, 0
        self._looks += 1
        return self._looks <= _LOOKS_A_SECOND


def _owner(flow: Flow) -> Owner | None:
    """Of the client's end, found by the addresses that the client sees."""
    try:
        address, port = flow.client.getpeername()[:2]
        far = flow.destination or Destination(*flow.client.getsockname()[:2])
    except OSError:
        return None
    return owner_of(Destination(plain(address), port), Destination(plain(far.address), far.port))
