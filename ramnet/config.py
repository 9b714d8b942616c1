"""``ramnet.toml``: how this machine enforces, read whole and checked before anything starts.

An unknown key, a wrong type or a value that cannot work is refused with file, key and
reason: a misspelt key that is passed over would be a gate that its owner believes in.
"""

import ipaddress
import itertools
import re
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from ramnet.config_text import read_text
from ramnet.config_values import (
    check_absolute,
    check_cgroup,
    check_host,
    check_name,
    check_parent,
    check_socket_path,
    checked,
    duration,
    is_address,
    parse_endpoint,
)
from ramnet.errors import ConfigError

DEFAULT_PATH: Final = "/etc/ramnet/ramnet.toml"

_KEY_AT_FAULT = re.compile(r"Object (?:contains (unknown)|missing required) field `(.*)`")


_CONTAINERS: Final = (
    r"buildx|kind|label:[^=\s]+(=.*)?|name:[a-zA-Z0-9_.*?\[\]!-]+"
    # Fit for the rules as they are; the length is IFNAMSIZ, less its NUL.
    r"|bridge:[a-zA-Z0-9_.-]{1,15}"
)


class Scope(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One network namespace, or one cgroup in it, whose egress goes to the gate."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}\Z")]
    """Stands in file names, in the rules and in every event."""
    netns: str = "self"
    """``self``, an absolute path, ``pid:N`` or ``pidfile:PATH``."""
    cgroup: str | None = None
    """Below the cgroup2 root, or below the cgroup of a systemd that was started in one, such as
    ``ramnet.slice``; None is the whole namespace."""
    dial: Literal["scope", "own"] = "scope"
    """From which network namespace the gate dials afar: the scope's, or the one ramnet runs in."""
    containers: list[str] = []
    """Containers whose own traffic is held to the policy too: ``buildx`` (builders of the
    docker-container driver), ``kind`` (nodes of such a cluster), ``label:KEY`` or
    ``label:KEY=VALUE``, ``name:GLOB``, and ``bridge:INTERFACE`` for all that comes by that
    bridge."""

    def __post_init__(self) -> None:
        for word in self.containers:
            if not re.fullmatch(_CONTAINERS, word):
                raise ValueError(
                    f"containers {word!r} is none of: buildx, kind, label:KEY, label:KEY=VALUE, "
                    "name:GLOB, bridge:INTERFACE"
                )
        if not re.fullmatch(r"self|/[^\0]+|pid:[1-9][0-9]*|pidfile:/[^\0]+", self.netns):
            raise ValueError(
                f"netns {self.netns!r} is none of: self, an absolute path, pid:N, pidfile:/PATH"
            )
        check_cgroup(self.cgroup)


class Resolver(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where allowed names are resolved."""

    upstream: list[str] = []
    """Addresses, port optional (53); empty: the scope's resolv.conf, followed."""
    hosts: dict[str, list[str]] = {}
    """The administrator's own pins, name -> addresses."""
    zones: dict[str, list[str]] = {}
    """Split DNS, domain -> its servers (as ``upstream``)."""
    containers_dns: Literal["restrict", "allow"] = "restrict"
    """What names that are not on the list get: a refusal, or their true answer, for the sake of
    containers whose questions dockerd asks itself (Docker 28 on, without ``dns`` in daemon.json).
    Connections are decided by name either way; but whoever may ask for any name can send data
    out in names, so the answer is the administrator's decision and not the default."""

    def __post_init__(self) -> None:
        for key, servers in ("upstream", [self.upstream]), ("zones", self.zones.values()):
            for server in (s for group in servers for s in group):
                checked(key, server, lambda text: parse_endpoint(text, 53))
        if any(not servers for servers in self.zones.values()):
            raise ValueError("zones: a zone needs at least one server")
        for name in self.hosts:
            check_name("hosts", name)
        for zone in self.zones:
            check_name("zones", zone.removesuffix("."), as_compared=True)
        for address in (a for addresses in self.hosts.values() for a in addresses):
            checked("hosts", address, ipaddress.ip_address)


class Proxy(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The explicit proxy that clients may name, and the parent that the gate may need."""

    explicit: list[str] = []
    """ADDRESS:PORT each; empty: there is no explicit proxy."""
    explicit_clients: list[str] = field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    """Networks that may use the explicit proxy; anyone else is refused."""
    parent: str | None = None
    """``http://`` or ``https://``, ``[USER:PASSWORD@]HOST[:PORT]``."""
    direct: list[str] = []
    """Names, and suffixes with a leading dot, that are dialled without the parent."""

    def __post_init__(self) -> None:
        for listener in self.explicit:
            checked("explicit", listener, parse_endpoint)
        for name in self.direct:
            if not is_address(name):
                check_name("direct", name.removeprefix("."), as_compared=True)
        for network in self.explicit_clients:
            checked("explicit_clients", network, ipaddress.ip_network)
        if self.parent is not None:
            check_parent(self.parent)


class Denial(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How a refusal over TLS is worded: by a certificate of ours, or by an alert alone."""

    tls: Literal["certificate", "alert"] = "certificate"


class Trust(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Whom to believe where ``policy`` is the URL of a signed repository, and how often to ask."""

    root: str | None = None
    """Absolute path of the ``root.json`` that ``ramnet policy keygen`` made."""
    refresh: int | str = "1h"
    """Between two fetches: seconds, or a number with s, m or h; 10 s to 24 h."""
    grace: int | str = "24h"
    """How long a policy is enforced after what signs it has expired."""
    on_stale: Literal["refuse", "keep"] = "refuse"
    """What happens then."""
    ca: str | None = None
    """PEM of authorities that the server's certificate may be from, beside the machine's own."""

    def __post_init__(self) -> None:
        for key in ("root", "ca"):
            check_absolute(key, getattr(self, key))
        if not 10 <= self.refresh_seconds <= 86400:
            raise ValueError(f"refresh: {self.refresh!r} is not between 10 s and 24 h")
        duration("grace", self.grace)

    @property
    def refresh_seconds(self) -> float:
        """``refresh``, in seconds."""
        return duration("refresh", self.refresh)

    @property
    def grace_seconds(self) -> float:
        """``grace``, in seconds."""
        return duration("grace", self.grace)


_ALGORITHMS: Final = frozenset(
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
)


class Session(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who may use the policy: people who are signed in to the organisation."""

    enforce: bool = False
    """Nothing is reachable for who is not signed in."""
    allowed_orgs: list[str] = []
    """A person must be in one of them; none are any."""
    registry_json: str | None = None
    """Docker's file ``{"allowedOrgs": [...]}``, for further ones."""
    allow: list[str] = []
    """Hosts that signing in needs, reachable without."""
    absent: Literal["policy", "unrestricted"] = "policy"
    """What holds for who is not signed in, where that is not enforced."""
    issuer: str | None = None
    audience: str | None = None
    jwks: str | None = None
    """The issuer's keys: an absolute path, or an ``https://`` URL."""
    algorithms: list[str] = field(default_factory=lambda: ["RS256", "ES256", "EdDSA"])
    organizations_claim: str = "organizations"
    groups_claim: str = "groups"

    def __post_init__(self) -> None:
        for host in self.allow:
            check_host("allow", host)
        check_absolute("registry_json", self.registry_json)
        if self.jwks is not None and not self.jwks.startswith("https://"):
            check_absolute("jwks", self.jwks)
        if unknown := [name for name in self.algorithms if name not in _ALGORITHMS]:
            known = ", ".join(sorted(_ALGORITHMS))
            raise ValueError(f"algorithms: {unknown[0]!r} is none of {known}")
        if self.jwks is not None and not (self.issuer and self.audience and self.algorithms):
            raise ValueError("jwks: issuer, audience and algorithms are needed with it")
        if self.enforce and self.jwks is None:
            raise ValueError("enforce: jwks is needed, or nobody can sign in")
        if self.enforce and self.absent == "unrestricted":
            raise ValueError('absent: "unrestricted" and enforce = true contradict each other')


class Metrics(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where Prometheus may ask; without ``listen`` nowhere."""

    listen: str | None = None
    """``ADDRESS:PORT`` on loopback, or the absolute path of a Unix socket."""

    def __post_init__(self) -> None:
        if self.listen is None or self.listen.startswith("/"):
            check_socket_path("listen", self.listen or "")
            return
        checked("listen", self.listen, parse_endpoint)
        if not ipaddress.ip_address(parse_endpoint(self.listen).address).is_loopback:
            raise ValueError(
                f"listen: {self.listen!r} is neither on loopback nor an absolute path; a proxy of "
                "your own (TLS, credentials) can pass metrics on"
            )


class Exempt(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Traffic that a machine needs for itself and that passes by the gate; status lists it."""

    uid: str | int | None = None
    cgroup: str | None = None
    proto: Literal["tcp", "udp", "sctp", "icmp", "icmpv6", "esp", "ah", "gre"] | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    address: str | None = None
    """A destination address or network."""

    def __post_init__(self) -> None:
        check_cgroup(self.cgroup)
        if self.address is not None:
            checked("address", self.address, ipaddress.ip_network)
        if isinstance(self.uid, int) and not 0 <= self.uid < 2**32 - 1:
            raise ValueError(f"uid {self.uid} is out of range")
        if self.port is not None and self.proto not in ("tcp", "udp", "sctp"):
            raise ValueError("a port needs proto = tcp, udp or sctp")
        if not (self.uid is not None or self.cgroup or self.address or self.port):
            raise ValueError("an exemption names a uid, a cgroup, an address or a port")


class Config(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The whole of ``ramnet.toml``."""

    policy: str
    """Absolute path of the policy document, or the ``https://`` URL of a signed repository."""
    scopes: list[Scope] = field(name="scope")
    state_dir: str = "/var/lib/ramnet"
    control_socket: str = "/run/ramnet/control.sock"
    resolver: Resolver = field(default_factory=Resolver)
    proxy: Proxy = field(default_factory=Proxy)
    denial: Denial = field(default_factory=Denial)
    exempt: list[Exempt] = []
    trust: Trust = field(default_factory=Trust)
    session: Session = field(default_factory=Session)
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def signed(self) -> bool:
        """Whether the policy comes from a signed repository."""
        return self.policy.startswith("https://")

    @property
    def run_dir(self) -> Path:
        """Where sockets, locks and the boot-time CA are: the control socket's directory."""
        return Path(self.control_socket).parent

    def __post_init__(self) -> None:
        for key in ("state_dir", "control_socket"):
            check_absolute(key, getattr(self, key))
        _check_policy(self)
        check_socket_path("control_socket", self.control_socket)
        if not self.scopes:
            raise ValueError("scope: at least one [[scope]] is needed")
        for one, other in itertools.combinations(self.scopes, 2):
            _check_apart(one, other)


def load(path: str | Path) -> Config:
    """Read ``ramnet.toml``.

    Raises:
        ConfigError: with file, key and reason.
        KernelRefusedError: this user may not read it.
    """
    text = read_text(Path(path))
    try:
        return msgspec.toml.decode(text, type=Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_explain(str(error))}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    except RecursionError:
        raise ConfigError(f"{path}: it is nested too deeply") from None


def _check_apart(one: Scope, other: Scope) -> None:
    # Dashes and underscores are one in the names of tables.
    if one.name.replace("-", "_") == other.name.replace("-", "_"):
        raise ValueError(f"scope: two scopes have name {other.name!r}")
    if one.netns != other.netns:
        return
    if one.cgroup is None or other.cgroup is None:
        raise ValueError(
            f"scope: two scopes have netns {one.netns!r}: {one.name!r} and {other.name!r} can "
            "share it only if each has a cgroup"
        )
    paths = sorted(f"{path.strip('/')}/" for path in (one.cgroup, other.cgroup))
    if paths[1].startswith(paths[0]):
        raise ValueError(
            f"scope: the cgroups of {one.name!r} and {other.name!r} overlap in netns {one.netns!r}"
        )


def _explain(text: str) -> str:
    """Key first, then the reason: msgspec says them the other way round."""
    reason, _, place = text.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    if match := _KEY_AT_FAULT.fullmatch(reason):
        key = f"{place}.{match[2]}" if place else match[2]
        reason = f"unknown key{_nearest(place, match[2])}" if match[1] else "this key is required"
        return f"{key}: {reason}"
    if re.match(r"[a-z_.]+: ", reason):  # our own checks say the key themselves
        return f"{place}.{reason}" if place else reason
    known = _known_values(place) if reason.startswith("Invalid enum value") else ""
    return f"{place}: {reason[:1].lower()}{reason[1:]}{known}"


def _table(place: str) -> type[Struct] | None:
    tables: dict[str, type[Struct]] = {
        "": Config, "scope": Scope, "resolver": Resolver, "proxy": Proxy, "denial": Denial,
        "exempt": Exempt, "trust": Trust, "session": Session, "metrics": Metrics,
    }  # fmt: skip
    return tables.get(re.split(r"[\[.]", place, maxsplit=1)[0])


def _nearest(place: str, unknown: str) -> str:
    """The key of that table that was most likely meant."""
    from difflib import get_close_matches  # where something is wrong, and only there

    table = _table(place)
    near = get_close_matches(unknown, table.__struct_encode_fields__ if table else (), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _known_values(place: str) -> str:
    """What the key at ``place`` may say."""
    from typing import get_args

    kind = getattr(_table(place), "__annotations__", {}).get(place.rpartition(".")[2])
    words = [word for part in (kind, *get_args(kind)) for word in get_args(part)]
    return "; it is one of: " + ", ".join(word for word in words if isinstance(word, str))


def _check_policy(config: Config) -> None:
    if not config.signed:
        if "://" in config.policy:
            raise ValueError(f"policy: {config.policy!r} is neither a path nor an https:// URL")
        check_absolute("policy", config.policy)
        return
    try:
        url = urlsplit(config.policy)
        valid = bool(url.hostname) and url.port != 0 and url.username is None
    except ValueError:
        valid = False
    if not valid or url.query or url.fragment:
        raise ValueError(f"policy: {config.policy!r} is not https://HOST[:PORT][/PATH]")
    if config.trust.root is None:
        raise ValueError("trust.root: a policy from a URL needs the root.json that is trusted")
