"""Which ports the entries of a policy name."""

from ramnet.policy import MAX_PORTS, Policy, compile_policy, read_document


def _policy(*hosts: str) -> Policy:
    lines = ["version = 1", "docker_hub = false"]
    lines += [f'[[registry]]\nhost = "{host}"' for host in hosts]
    document = read_document("\n".join(lines).encode(), source="test")
    return Policy(compile_policy(document))


def test_none_where_none_is_named() -> None:
    assert _policy("registry.example").ports == frozenset()
    assert Policy.empty("nothing").ports == frozenset()


def test_each_once() -> None:
    policy = _policy("a.example:5000", "b.example:5000", "*.c.example:8443", "d.example")
    assert policy.ports == {5000, 8443}
    policy.verify()
    assert policy.decide("a.example", 5000).allowed


def test_the_lowest_where_there_are_too_many() -> None:
    policy = _policy(*(f"a.example:{port}" for port in range(1000, 1200)))
    assert policy.ports == set(range(1000, 1000 + MAX_PORTS))
