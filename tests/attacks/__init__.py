"""The doors: one test for each way in which a gate of this kind was got round, or could be.

Where a hole has a name elsewhere (an advisory, another system), the test's docstring says so. Each
test looks at the uplink (``stray``): what left there decides, whatever the client was told.

A test that cannot fail proves nothing. So each was run once against a copy of ramnet without the
defence that it is about, and failed; "Shown by" says what was taken out. A test with nothing to
take out (a caveat, or a bystander that is left alone by design) says that instead.

``tools`` has what attackers have: sockets of the vm, hand-made hellos, small servers.
"""
