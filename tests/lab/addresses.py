"""Names and addresses of the lab, all from the documentation ranges (RFC 5737, 3849, 2606)."""

from __future__ import annotations

from typing import NamedTuple

VM_IPV4 = "192.0.2.2"
VM_IPV6 = "2001:db8:1::2"
INET_IPV4 = "192.0.2.1"
INET_IPV6 = "2001:db8:1::1"

#: The interface names of the wire's two ends.
VM_UPLINK = "eth0"
INET_UPLINK = "vm"

#: Networks that are local to inet as a whole: any address in them answers.
INET_NETWORKS = ("198.51.100.0/24", "203.0.113.0/24", "2001:db8:2::/64")


class Site(NamedTuple):
    """A named server of inet with one address of each family."""

    name: str
    ipv4: str
    ipv6: str

    @property
    def addresses(self) -> tuple[str, str]:
        return self.ipv4, self.ipv6


def _site(name: str, host: int) -> Site:
    return Site(name, f"203.0.113.{host}", f"2001:db8:2::{host:x}")


REGISTRY_ALLOWED = _site("registry.allowed.example", 10)
REGISTRY_BLOCKED = _site("registry.blocked.example", 11)
REDIRECT_ALLOWED = _site("redirect.allowed.example", 12)
CDN = _site("cdn.example", 13)
LOGIN_ALLOWED = _site("login.allowed.example", 14)
FILES_ALLOWED = _site("files.allowed.example", 15)
FILES_BLOCKED = _site("files.blocked.example", 16)
GIT_ALLOWED = _site("git.allowed.example", 17)
GIT_BLOCKED = _site("git.blocked.example", 18)
POLICY_SERVER = _site("policy.acme.example", 19)

SITES = (
    REGISTRY_ALLOWED,
    REGISTRY_BLOCKED,
    REDIRECT_ALLOWED,
    CDN,
    LOGIN_ALLOWED,
    FILES_ALLOWED,
    FILES_BLOCKED,
    GIT_ALLOWED,
    GIT_BLOCKED,
    POLICY_SERVER,
)

#: What the vm's resolver answers for any name that it does not know.
ANYWHERE = Site("anywhere.example", "203.0.113.99", "2001:db8:2::63")

#: The vm's resolver, and a foreign one that gives `FOREIGN_ANSWER` for every name.
RESOLVER = Site("resolver.example", "192.0.2.53", "2001:db8:1::53")
FOREIGN_RESOLVER = Site("foreign.example", "198.51.100.53", "2001:db8:2::5353")
FOREIGN_ANSWER = Site("foreign-answer.example", "198.51.100.66", "2001:db8:2::6666")

#: Who may log in at `LOGIN_ALLOWED`; a bcrypt of the password, since registries take no other.
USER = "developer"
PASSWORD = "lab-password"  # the lab's own, worth nothing elsewhere

#: The image that every registry of the lab holds.
IMAGE = "library/app:1"

#: CNAMEs the vm's resolver knows: both point across the policy's border.
ALIASES = {
    "alias.allowed.example": REGISTRY_BLOCKED.name,
    "alias.blocked.example": REGISTRY_ALLOWED.name,
}
