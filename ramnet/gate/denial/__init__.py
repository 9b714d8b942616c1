"""Saying no so that a person can read it.

The sentence is the policy's. It travels as the reason phrase of a 403, since Docker shows that
for a refused CONNECT and drops the body, and as the registry's JSON error, since Docker shows
that for a refused request. A refused TLS client is given a certificate for the very name it
asked for, by an authority that this machine made at boot (``authority``), so that its request
can be answered; where there is none, the alert ``access_denied``.

Allowed TLS never comes here: no certificate is made for a name that is not refused.
"""
