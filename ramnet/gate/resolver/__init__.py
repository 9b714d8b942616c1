"""The resolver: every DNS question of the scope comes here, whatever server it was meant for.

::

    server_udp --+  same octets as before? -> reply with the id swapped
    server_tcp --+-> desk: read -> rulings: the policy's verdict
                       |              refused, searched, pinned, localhost -> answer
                       +-> lookup: cache, or one flight for all who ask the same
                              zones -> upstreams: one server after another, all listened to
                                          exchange: own socket, port and id a question
                              sanitise: what belongs to the question, unfit addresses out
    memory  which address was given for which name: what the proxy knows of nameless traffic
    loops   an upstream on this machine that hands our questions back is found by a probe
    report  audit events, each name once a minute

Decisions kept as octets (``cache.DatagramCache``) go with every new policy; what upstreams
said is fact and stays. An answer that was under way while the policy changed is decided again
before it is told.

What a client can put into a question reaches an upstream as a lower-case allowed name and a
type, in a message of our own: neither case, id, flags nor EDNS options pass. What an upstream
can put into an answer reaches a client only as the chain of CNAMEs from the name asked, and
the records at its end; addresses of this machine, and whatever leads back to one, never do
unless the policy entry says ``local = true``.

Every failure is an answer: SERVFAIL before the client's own time-out of five seconds.

Not done: DNSSEC validation (upstreams' business; DO and AD do not pass), TCP connections kept
open to upstreams, stale answers when all upstreams are dead.
"""

from ramnet.gate.resolver.errors import ResolutionError
from ramnet.gate.resolver.resolver import Resolution, Resolver

__all__ = ["Resolution", "ResolutionError", "Resolver"]
