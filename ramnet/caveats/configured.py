"""Caveats found in ramnet's own configuration and in the policy, and those that are by design."""

import ipaddress
from typing import Final

from ramnet.caveats.caveat import Finding, State, bounded, found, unknown
from ramnet.caveats.facts import Facts, Unseen
from ramnet.config import Exempt, Proxy
from ramnet.config_values import parse_endpoint

_CDNS: Final = (
    ".cloudfront.net",
    ".cloudfront.docker.com",
    ".cloudflare.docker.com",
    ".cloudflarestorage.com",
    ".akamaized.net",
    ".azureedge.net",
    ".azurefd.net",
    ".fastly.net",
    ".gitlab-static.net",
)
"""Names that say themselves whose they are, and vendors' own names on such servers."""


def exemptions(facts: Facts) -> Finding:
    """What passes by the gate."""
    return found(f"[[exempt]] {_described(each)}" for each in facts.config.exempt)


def _described(exempt: Exempt) -> str:
    parts = ("uid", "cgroup", "proto", "port", "address")
    named = [(part, getattr(exempt, part)) for part in parts]
    return " ".join(f"{part}={value}" for part, value in named if value is not None)


def containers_dns(facts: Facts) -> Finding:
    """Names are told to everybody."""
    return found(
        ['[resolver] containers_dns = "allow"']
        if facts.config.resolver.containers_dns == "allow"
        else []
    )


def windows_containers(facts: Facts) -> Finding:
    """Windows' own dockerd has only the explicit proxy, which it must reach and use."""
    afar = _open_to_others(facts.config.proxy)
    if afar:
        return unknown(
            f"[proxy] explicit = {', '.join(afar)} can be reached from outside; whether a Windows "
            "dockerd uses it cannot be seen from here"
        )
    release = facts.kernel_release
    if any(word in release.lower() for word in ("microsoft", "linuxkit")):
        kind = f"kernel {release}: this is a machine inside Windows, or a desktop's VM"
        return found([f"{kind}, and [proxy] explicit serves nobody outside it"])
    return Finding(State.ABSENT, bounded([f"kernel {release} is none of WSL's or LinuxKit's"]))


def _open_to_others(proxy: Proxy) -> list[str]:
    """Listeners of the explicit proxy that somebody outside this machine may use."""
    clients = [ipaddress.ip_network(text) for text in proxy.explicit_clients]
    if all(network.is_loopback for network in clients):
        return []
    return [text for text in proxy.explicit if not _is_loopback(text)]


def _is_loopback(text: str) -> bool:
    return ipaddress.ip_address(parse_endpoint(text).address).is_loopback


def push_pull(facts: Facts) -> Finding:
    """By design: allowed is allowed."""
    policy = facts.policy
    if isinstance(policy, Unseen):
        return found(["what may be pulled from may be pushed to"])
    words = f"{policy.source}: what its {policy.entries} entries and presets allow, for both ways"
    return found([words])


def cli_fetches(facts: Facts) -> Finding:
    """By design: who is in no scope is not restricted."""
    covered = [f"scope {s.name}: by {s.means}" for s in facts.scopes if isinstance(s.means, str)]
    return found(["clients outside these scopes fetch by themselves", *covered])


def broad_hosts(facts: Facts) -> Finding:
    """Allowed hosts that strangers share."""
    policy = facts.policy
    if isinstance(policy, Unseen):
        return found([], [policy.reason])
    if isinstance(policy.broad, Unseen):
        return found([], [policy.broad.reason])
    return found(f"{policy.source}: {text}" for text in policy.broad)


def domain_fronting(facts: Facts) -> Finding:
    """Names that are a CDN's: within TLS a client may ask it for another of its customers."""
    policy = facts.policy
    if isinstance(policy, Unseen):
        return found([], [policy.reason])
    if isinstance(policy.allowed, Unseen):
        return found([], [policy.allowed.reason])
    fronted = [host for host in policy.allowed if f".{host.partition(':')[0]}".endswith(_CDNS)]
    # A name need not say whose servers answer for it.
    open_ = ["which of the other allowed hosts a CDN serves"] if policy.allowed else []
    return found((f"{policy.source} allows {host}" for host in fronted), open_)


def unrestricted(facts: Facts) -> Finding:
    """The policy says that nothing is to be refused."""
    policy, session, seen = facts.policy, facts.config.session, []
    if session.absent == "unrestricted":
        seen.append('[session] absent = "unrestricted": for whoever is not signed in')
    if isinstance(policy, Unseen):
        return found(seen, [policy.reason])
    return found([*seen, *([] if policy.enabled else [f"{policy.source}: enabled = false"])])


def not_enforced(facts: Facts) -> Finding:
    """The policy only records what it would refuse."""
    policy = facts.policy
    if isinstance(policy, Unseen):
        return found([], [policy.reason])
    if policy.enforced or not policy.enabled:
        return Finding(State.ABSENT)
    kernel = "UDP but for DNS, other protocols and older connections are still refused"
    return found([f"{policy.source}: enforce = false", f"{kernel}, by the kernel's rules"])


def sign_in(facts: Facts) -> Finding:
    """People can sign in, and need not."""
    session = facts.config.session
    if session.jwks is None or session.enforce:
        return Finding(State.ABSENT)
    return found([f'[session] enforce = false; absent = "{session.absent}"'])


def stale(facts: Facts) -> Finding:
    """What signs the policy has expired."""
    signed = facts.signed
    if signed is None:
        return Finding(State.ABSENT)
    if isinstance(signed, Unseen):
        return unknown(f"not known: {signed.reason}")
    if signed.state == "none":
        return unknown("not known: no policy was fetched yet")
    expired = f"{signed.state}: it expired at {signed.expires}; on_stale = {signed.on_stale}"
    return found([] if signed.state == "fresh" else [expired])
