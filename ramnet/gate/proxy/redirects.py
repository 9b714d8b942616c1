"""Whether a refused request is one that an allowed registry sent its client to make.

The request itself names who sent it (Referer, which Go's client sets when it follows a redirect;
RFC 9110, 10.1.3). One that names nobody was asked for directly, and one that could not be read
(CONNECT, SOCKS, a client that does not trust our authority) proves nothing. The word is the
client's own: it is good for a suggestion, and no decision rests on it.
"""

from ramnet.audit import Redirect
from ramnet.gate.proxy.ruling import Decides, rule
from ramnet.wire.http import RequestHead, read_referrer, write_authority
from ramnet.wire.result import Absent


def redirect_of(judge: Decides, head: RequestHead | None) -> Redirect | None:
    """What a refused request says of the redirect that it follows; its sender has to be allowed."""
    referrer = read_referrer(head) if head is not None else None
    if referrer is None or isinstance(referrer, Absent):
        return None
    host, port = referrer
    ruling = rule(judge, host, port or 443)
    if not ruling.allowed or ruling.would_deny:
        return None
    return Redirect(by=write_authority(ruling.name, port).decode("ascii"))
