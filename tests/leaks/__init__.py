"""The leak harness: what leaves while the service is hurt.

A case is a `Watch` (harness.py): two probers (prober.py, a process of its own in each host) try
forbidden things and bystanders' things every few milliseconds, a capture holds the uplink, and
the test does harm in between. At its end

- no packet that the policy does not permit may have left (`forbidden_among`), and no probe may
  have been answered by the far end;
- the service must be well again by itself or by its init: `ramnet status` says enforcing and an
  allowed fetch works;
- every forbidden probe must have had its turn, sockets bound to the uplink among them;
- bystanders (loopback services, inbound connections, published ports, over both families) must
  have worked all the time where the case promises it.

Each case adds a row to the table that pytest prints last. Times to health come from the prober's
own allowed fetches, 50 a second: from the harm to the first fetch that works and is followed by
no failed one.

`WAYS` (ways.py) are the tiers and scopings, one line for each and the cases that are walked in it:
all in `redirect` and `anyip`; in a cgroup (`cgroup2`, `net_cls`) and with the least capabilities
those in which the rules themselves could differ. Limits of time are for a machine that has much
else to do; the one time that is asserted is the window after another tool's flush, 100 ms for the
best of four rounds, all of which are reported.
`RAMNET_LEAKS_ROUNDS` says how often harm is repeated: 2 by default, which takes minutes, 20 for
what issue 3 asks of a release (200 reloads, 20 kills of each process).

Broken by hand, to see it fail in each way: `udp dport 443 accept` in the rules (9 to 25 packets in
"kill -9 gate"), no postrouting guard (66 to 131, by the bound sockets), old connections let live
(over 5,000 in "start from no rules").

`promises.py` makes the README's table "promise by tier"; `python -m tests.leaks.promises` writes
it, test_promises.py checks that it stands there and that each cell is backed by tests.
"""
