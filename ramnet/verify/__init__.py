"""``ramnet verify``: every promise tried, from inside every scope, and what came of it.

::

    kernel's listing  <->  what is planned          listing: each rule that is missing or foreign
                 |                                           names the promise that it carries
                 | what is missing is taken out there as well
                 v
    replica: ramnet run in namespaces of its own    walk: each probe sends one thing, alone;
    or, with --live, the scope itself                     what leaves meanwhile is its leak

*Default.* The rules of each scope are read from the kernel and compared with what is planned
there. The probes are then walked in a **replica** (``replica``): ``ramnet run`` itself with a
policy for the purpose, in two network namespaces and a wire between them, in the same tier, with
the same capabilities and the same kind of scope; what the machine's rules lack, the replica's
lack. So nothing of a probe is ever on the machine's own network, no server is asked, and a machine
without network is no different. Before its rules come everything is tried without: what does not
leave then proves nothing and is ``not tested``.

*--live* walks the probes inside the scope, through its own gate, and watches the scope's uplinks.
They go to documentation addresses and speak of names below ``.example``; what would need an honest
server beyond the wire, or connections older than the rules, is ``not tested`` there. A frame of an
experimental ethertype (0x88b5) for each probe shows that the capture sees. Nothing is changed.

Neither asks the service for anything: it may be stopped, or be at fault.

*Verdicts*: ``held``; ``leaked``, with the packets; ``broken``, where nothing left and the promise
is not kept all the same (what is allowed does not work, a refusal is silent); ``not tested`` and
why. Exit 1 on ``leaked`` or ``broken``, else 3 where a scope has no rules in force, else 0.

*What it cannot show.* Packet sockets (AF_PACKET) go round every rule of netfilter, so what sends
by them is the caveat ``raw-sockets`` and no probe. Connections that containers forward (the
cover's table too), and those to container networks, are told by the listing alone.

``probes`` is the list, ``crafted`` what only scapy makes; scapy is loaded by this command alone.
``prober`` is the process inside; ``far`` the world beyond the replica's wire; ``capture`` sees.
"""
