"""The service: a privileged supervisor, and one unprivileged gate for each network namespace.

::

    ramnet run (root)                              python -m ramnet.daemon.worker (uid 60927)
    ------------------------------------------     ------------------------------------------
    Service        order of start, health  <-----  Gate: resolver, proxy, denial
      Enforcer     rules, listeners         spec, sockets, surroundings, policy blob
      Mender       undoes what others change
      GateKeeper   one per scope           ----->  over SOCK_SEQPACKET, JSON + SCM_RIGHTS
      PolicyKeeper watches the document            (channel)
      Control      HTTP on a Unix socket
            |
            +-- python -m ramnet.daemon.compile (uid 60927, short-lived): document -> blob
            +-- python -m ramnet.daemon.exporter (uid 60928, with [metrics]): status -> Prometheus

What each module promises:

* The supervisor parses no byte that came over a network. It reads ``ramnet.toml``, its own
  control socket, ``resolv.conf`` and what its own gates say (typed and bounded); a policy
  document passes through it unread, into a sealed memfd and out to the compiler.
* Rules come before everything. ``Enforcer.install`` puts listeners and rules in place first, so
  that from then on connections wait in a backlog or are refused; nothing after it can open a way.
* What another tool does to rules or routes is undone at the kernel's report of it, and told with
  the name of the program; a look each second stands behind that, since reports can be lost.
* A scope may come late, go, and return as another (``ScopeLife``): what is there is closed off
  within a look, four a second; what is not there is said to be waited for, and holds up nothing.
* Either side's death leaves the rules. Gates die with the supervisor (``PR_SET_PDEATHSIG``, and
  the end of the channel); a dead or mute gate is replaced, with the same listening sockets and
  the policy in force, so connections that wait in the backlog are served by its successor.
* A policy is in force whole or not at all: compiled outside, sealed, adopted by every gate, or
  the one before it stays. With no policy at all the gate refuses everything and says why.
* State is said, not guessed: ``status`` shows what the gates and the kernel last reported.
"""
