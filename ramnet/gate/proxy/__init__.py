"""The proxy: every TCP connection of the scope ends here and is decided by name.

One connection, in order (a module each)::

    accept -> serve -> [sockets: peek] -> opening -> decision -> connection -> dial | parent
                                                         |                       |
                                                    denial, answer             relay

- Pure, and tested as scripts of events: ``opening`` (what the first bytes are), ``decision``
  (what follows from them, by role), ``conversation`` (plain HTTP, request by request),
  ``ruling`` (a name and the policy).
- Shells: ``serve`` (the ways in), ``connection`` (carries actions out), ``requests`` (HTTP),
  ``socks``, ``dial``, ``parent``.
- Bytes: ``engine`` (one epoll), ``relay`` and ``direction`` (splice), ``pipes``.
- ``flow``: what a connection lives on; re-decided whenever the policy changes.

A client's bytes are looked at, never taken, until they may pass; so a refused TLS client can
be given a handshake on the same socket, and an allowed one's bytes are moved and not copied.
A *role* says where the bytes stand: meant for afar, joined to what is near, joined to an address
that the resolver gave, inside a tunnel, or meant for the explicit proxy. A relay's upward
direction has a *budget*; where it is zero the *gatekeeper* is called as soon as the client
speaks, so even a connection joined in silence is decided by its first bytes.
"""
