"""Every limit of the proxy in one place. Times in seconds, sizes in bytes."""

from typing import Final

ACCEPT_BURST: Final = 16
"""Connections taken from one listener before others get their turn."""
ACCEPT_PAUSE: Final = 0.1
"""Rest when the process or the machine is out of descriptors or memory."""
DESCRIPTORS_PER_CONNECTION: Final = 2
DESCRIPTORS_RESERVED: Final = 512
"""Kept free for listeners, the resolver, logs and pipes."""

DECISION_TIME: Final = 10.0
"""For a client to have said, in TLS, HTTP or SOCKS, where it wants to go."""
SILENCE: Final = 0.3
"""After this a client is taken to wait for the server's greeting."""
SILENCE_REFUSED: Final = 3.0
"""A silent client whose destination nothing allows is refused then."""
PEEK_FIRST: Final = 4096
PEEK_MOST: Final = 128 * 1024
"""More than any reader of ``wire`` asks for."""

DIAL_TIME: Final = 10.0
DIAL_STAGGER: Final = 0.25
"""Head start of one address over the next (RFC 8305, 5)."""
DIAL_ADDRESSES: Final = 8
PARENT_TIME: Final = 10.0
"""For a parent proxy to answer a CONNECT."""
PARENT_HEAD: Final = 16 * 1024

PIPE_SIZE: Final = 1024 * 1024
"""As large as an unprivileged user may have (pipe-max-size): a fifth less processor time for a
GiB than with a quarter of it, since a pipe counts pieces of packets and not bytes."""
PIPES_LARGE: Final = 16
"""Pipes of that size, kept for reuse: 16 MiB of the 64 MiB that a uid may have in pipes."""
PIPE_SIZE_MORE: Final = 256 * 1024
"""Of those beside them, which slow receivers need."""
PIPES_KEPT: Final = 32
"""Of those as many are kept for reuse."""
PIPES_MOST: Final = 2048
"""Pipes that hold bytes for slow receivers; beyond it senders wait."""
PIPE_WAIT: Final = 0.05
"""Until a sender that found no pipe asks again."""
SPLICE_BURST: Final = 1024 * 1024
"""Moved for one direction before others get their turn."""
COPY_FEW: Final = 8 * 1024
"""Fewer bytes than these are read and sent, more are spliced."""
COPY_SIZE: Final = 64 * 1024

IDLE_TIME: Final = 3600.0
"""A relayed connection on which nothing moved for so long is reset."""
SWEEP_INTERVAL: Final = 30.0
CLOSE_TIME: Final = 60.0
"""For a peer to acknowledge our last bytes before the socket is let go."""
TLS_HALF_CLOSE: Final = 60.0
"""TLS to a parent has no half-close; how long its answer may take after the client's end."""

ANSWER_TIME: Final = 10.0
"""For a refused client to finish its handshake, send its request and take the answer."""
LINGER_TIME: Final = 1.0
"""After a refusal: for the client to read it and hang up."""
LINGER_BYTES: Final = 256 * 1024
FINISH_TIME: Final = 30.0
"""For an answer that is outstanding when a later request on the connection is refused."""
LEAVES_KEPT: Final = 128
"""TLS contexts for refused names."""

REVIEW_BATCH: Final = 256
"""Flows re-decided in one turn after a policy change."""
