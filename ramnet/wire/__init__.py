"""Bytes to meaning and back: TLS, HTTP/1, SOCKS and DNS, with no I/O in the room.

The readers of connections see what a client has sent so far, all of it from its first byte, and
say one of four things (:mod:`ramnet.wire.result`):

====================  =========================================================================
a value               the beginning is whole; ``length`` says where it ends
``NeedMore(total)``   so far so good; no value and no ``ABSENT`` before ``total`` bytes are there
``Malformed``         it claims to be this protocol and breaks its rules: never pass it on
``ABSENT``            it is another protocol, whatever follows
====================  =========================================================================

What holds for each of them:

- Any bytes give one of the four; nothing is raised. Inside the room a broken rule is a
  :class:`~ramnet.wire.reader.BrokenError`, turned into ``Malformed`` at the door.
- An answer other than ``NeedMore`` does not change when more bytes arrive, so it matters neither
  how a client cuts its bytes into segments nor how often the gate looks.
- ``NeedMore.total`` is more than what is there and no more than what a client that keeps to its
  protocol sends before it waits for an answer, so that the kernel can be told to wake us then.
- Size is limited (64 KiB of HTTP head, 64 KiB of ClientHello in at most 32 records), and the work
  of one call is linear in it.
- ``ABSENT`` leads to the rule for protocols that carry no name. So what some lenient server would
  take for TLS or HTTP is ``Malformed`` where we cannot read a name from it, never ``ABSENT``.

TLS, HTTP and SOCKS differ in their first byte: of the three readers at most one gives anything
but ``ABSENT``, save that all ask for the first byte of nothing.
"""
