"""Who may say what is allowed: signed policies, and the person who is signed in.

::

    administrator                     any static server            each machine
    keys.py     root, offline         metadata/timestamp.json      client.py  verify, with nothing
                and three others ->   metadata/N.*.json        ->             but a trusted root
    roots.py, signing.py              targets/HASH.policy.toml     session.py who is signed in
                who may sign what
    publisher.py  sign and write

The repository is one of The Update Framework (TUF, theupdateframework.github.io/specification);
its rules are python-tuf's, not ours. ``root`` names the keys of the other roles and is signed
rarely, by keys that are kept offline, each with a person of its own if wished; ``targets`` names
the documents by hash; ``snapshot`` ties versions together; ``timestamp`` says that all of it is
still so, and expires first.

What this room promises:

- A document is used only if it is the newest that the trusted root's delegates have signed.
- What is refused is told by the name of the attack that it would have been (``attacks.py``).
- What is kept (``bundle.py``) is verified again whenever it is read.
- Nothing here opens a socket: the caller gives a way to dial.
"""
