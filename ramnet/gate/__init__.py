"""The gate: the unprivileged process through which everything of a scope goes.

::

    listeners (made by the privileged side)          Policy (mapped, read only)
        |                                               |
        +-- dns-udp, dns-tcp ------> resolver --+-- judge.decide(name, port)
        |                               ^       |
        +-- transparent, explicit --> proxy ----+--> denial, audit events

It has no capability and its own uid; it connects to where it wants only because the kernel's
rules except that uid. It parses whatever clients send, so it holds no secret but the key of the
boot-time authority, which can make refusals readable and nothing else.

``judge`` holds the one policy that both ask. Until the first one comes everything is refused.
``spec`` is what the privileged side tells. ``resolver`` remembers which addresses it gave for
which names; ``proxy`` asks it where a name is and what a nameless connection may have meant.
"""
