"""The only room that touches Linux: namespaces, nftables, routes, cgroups, sockets, privileges.

``enforcer.Enforcer`` is its front door: it makes one scope's namespace hold what
``ramnet.ruleset`` planned, reads it back, keeps it current and takes it away. Everything that
must happen inside a network namespace runs on that namespace's own thread
(``netns.Namespace.call``), since ``setns`` moves one thread and libnftables and netlink sockets
stay bound to the namespace of the thread that made them.

``hold`` is the other door: it refuses everything at boot, and shares only what is quick to load.
A scope may be one cgroup: ``scope_cgroup`` makes and holds its directories, ``scoping`` finds out
by a packet which means of the kernel tells its sockets apart, ``admission`` puts a program in.

Nothing here parses a byte that came over a network; what is read is the kernel's own word.
Importing this package imports none of its libraries: pyroute2 costs 0.3 s and is loaded by the
first call that needs it.
"""
