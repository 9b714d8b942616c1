"""What was found on this machine, as values; ``ramnet.kernel`` and ``ramnet.daemon`` gather them.

Every part is either what was found or ``Unseen`` with the reason; nothing stands for "probably".
"""

from dataclasses import dataclass

from ramnet.config import Config


@dataclass(frozen=True, slots=True)
class Unseen:
    """A part that could not be looked at, and why, in words for a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class DockerProxy:
    """A proxy that dockerd is told to use, and where."""

    where: str
    url: str


@dataclass(frozen=True, slots=True)
class DockerDaemon:
    """One dockerd as it runs.

    Attributes:
        pid: as this process sees it.
        version: such as ``28.5.2``; None where its API did not say.
        names_dns: whether containers are given name servers (``dns`` in daemon.json, ``--dns``),
            so that the embedded resolver asks from the container and not from dockerd.
    """

    pid: int
    version: str | None
    names_dns: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """How one dockerd reaches registries: ``GET /info`` of the Engine API, RegistryConfig.

    Attributes:
        insecure: hosts and networks without TLS or its verification, loopback aside.
        mirrors: URLs asked in the place of Docker Hub.
        proxies: HTTPProxy and HTTPSProxy in force.
        no_proxy: hosts that are dialled without them, separated by commas.
    """

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    no_proxy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container, running or not, as ``GET /containers/ID/json`` tells it.

    Attributes:
        capabilities: those added to Docker's default ones, without ``CAP_``.
        namespaces: those of the host that it is in, such as ``network`` and ``pid``.
        mounts: paths of the host that it sees.
        variables: names and values of its environment.
        identity: Docker's id of it.
    """

    name: str
    image: str
    identity: str = ""
    running: bool = True
    privileged: bool = False
    capabilities: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SocketAccess:
    """Who besides root may speak to Docker's socket, which is to say: become root.

    Attributes:
        path: the socket, as its dockerd sees it.
        group: name of the group that owns it, where that may write.
        members: users in that group.
        anybody: whether every user may write.
    """

    path: str
    group: str | None
    members: tuple[str, ...]
    anybody: bool


@dataclass(frozen=True, slots=True)
class Redirection:
    """A ``certs.d/HOST/hosts.toml`` and the servers that it sends requests for HOST to."""

    path: str
    host: str
    servers: tuple[str, ...] | Unseen


@dataclass(frozen=True, slots=True)
class Docker:
    """Everything about one dockerd.

    Attributes:
        netns: inode of its network namespace.
        fileborn: images that no registry has given a digest: loaded, imported or built here.
    """

    daemon: DockerDaemon
    netns: int | Unseen
    registries: Registries | Unseen
    containers: tuple[Container, ...] | Unseen
    access: SocketAccess | Unseen
    redirections: tuple[Redirection, ...] | Unseen
    fileborn: tuple[str, ...] | Unseen = ()


@dataclass(frozen=True, slots=True)
class Process:
    """One process that is not ramnet's own.

    Attributes:
        name: of its program (comm, proc_pid_comm(5)); its owner chooses it.
        netns: inode of its network namespace; None where the process went meanwhile.
        cgroup: its path in cgroup2.
        capabilities: effective ones that matter here, where they count for this machine: that
            is, in ramnet's own user namespace (user_namespaces(7)).
        child_of_docker: whether the parent is a dockerd of root's.
    """

    pid: int
    name: str
    uid: int
    netns: int | None = None
    cgroup: str = ""
    capabilities: tuple[str, ...] = ()
    child_of_docker: bool = False

    def __str__(self) -> str:
        """For a person."""
        return f"{self.name} (pid {self.pid}, uid {self.uid})"


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that listens in a scope's network namespace, and whose it is."""

    address: str
    port: int
    process: Process | None


@dataclass(frozen=True, slots=True)
class Sockets:
    """What a look into a scope's network namespace found.

    Attributes:
        packet: inodes of its AF_PACKET sockets with their owners, where one was found.
    """

    listeners: tuple[Listener, ...] = ()
    packet: tuple[Process | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeFacts:
    """One scope as it is enforced, or would be.

    Attributes:
        netns: inode of its network namespace.
        means: ``namespace``, ``cgroup2`` or ``net_cls`` (``ramnet.kernel.scoping``), with the
            reason.
        missing: capabilities that this kernel lacks, by name.
        covers: ids of containers that its rules, which stand, send to the gate.
    """

    name: str
    cgroup: str | None
    netns: int | Unseen
    means: str | Unseen
    reason: str = ""
    tier: str = ""
    missing: tuple[str, ...] | Unseen = ()
    sockets: Sockets | Unseen = Sockets()
    covers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Builder:
    """A builder that buildx knows: a file below ``~/.docker/buildx/instances``."""

    path: str
    driver: str | Unseen


@dataclass(frozen=True, slots=True)
class Homes:
    """What lies in the homes of this machine's users.

    Attributes:
        debuggers: the plugin ``docker debug``, where it is installed for all as well.
    """

    builders: tuple[Builder, ...] = ()
    kubeconfigs: tuple[str, ...] = ()
    debuggers: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """The policy document, as far as it matters here.

    Attributes:
        enforced: False for ``enforce = false``.
        broad: sentences on hosts that strangers share.
        allowed: hosts that it allows, presets' included, as text.
    """

    source: str
    enabled: bool
    entries: int
    broad: tuple[str, ...] | Unseen
    allowed: tuple[str, ...] | Unseen
    enforced: bool = True


@dataclass(frozen=True, slots=True)
class SignedFacts:
    """How old a signed policy is, by the service's word.

    Attributes:
        state: ``fresh``, ``expired`` (within its grace), ``overdue``, or ``none`` before any.
        expires: for a person.
        on_stale: what holds for one that is overdue.
    """

    state: str
    expires: str
    on_stale: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the caveats are found from."""

    config: Config
    kernel_release: str
    scopes: tuple[ScopeFacts, ...]
    dockers: tuple[Docker, ...] | Unseen
    processes: tuple[Process, ...] | Unseen
    homes: Homes | Unseen
    policy: PolicyFacts | Unseen
    signed: SignedFacts | Unseen | None
    """None where the policy is a file, which does not expire."""
