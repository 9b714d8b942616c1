"""All caveats, most severe first. Codes are a contract: add, never rename."""

from typing import Final

from ramnet.caveats import configured, containers, machine, registries
from ramnet.caveats.caveat import (
    BY_DESIGN,
    CONFIGURED,
    LOOKED_FOR,
    Caveat,
    Report,
    Severity,
    State,
)
from ramnet.caveats.facts import Facts

_DOCKER: Final = "https://docs.docker.com"
_MAN: Final = "https://man7.org/linux/man-pages"
_DAEMON: Final = f"{_DOCKER}/reference/cli/dockerd/"
_RAM: Final = f"{_DOCKER}/enterprise/security/hardened-desktop/registry-access-management/"

CAVEATS: Final = (
    Caveat(
        code="policy-unrestricted",
        title="The policy restricts nothing",
        severity=Severity.HIGH,
        meaning="Every name may be reached; ramnet only writes down what is asked.",
        remedy='set enabled = true in the policy, and [session] absent = "policy"',
        documentation=_RAM,
        look=configured.unrestricted,
    ),
    Caveat(
        code="not-enforced",
        title="The policy refuses nothing yet",
        severity=Severity.HIGH,
        meaning="What it would refuse passes and is recorded with the verdict would-deny.",
        remedy="look through `ramnet events --denied`, then take enforce = false out of the policy",
        documentation=_RAM,
        look=configured.not_enforced,
    ),
    Caveat(
        code="buildx-docker-container",
        title="Builders in containers",
        severity=Severity.HIGH,
        meaning="A builder of buildx's docker-container driver fetches from inside its container, "
        "which no scope covers: `docker buildx build` reaches every registry by it.",
        remedy='cover them: containers = ["buildx"] in the [[scope]]; or docker buildx rm NAME, '
        "and build with the docker driver (docker buildx use default), which is dockerd",
        documentation=f"{_DOCKER}/build/builders/drivers/docker-container/",
        look=containers.buildx_docker_container,
        states=LOOKED_FOR | {State.COVERED},
    ),
    Caveat(
        code="kubernetes",
        title="A Kubernetes cluster on this machine",
        severity=Severity.HIGH,
        meaning="Images of pods are pulled by the cluster's own runtime; in a container or another "
        "network namespace no scope covers it.",
        remedy='stop the cluster, cover its nodes (containers = ["kind"] in the [[scope]]), or add '
        "a [[scope]] for its network namespace (netns = pid:N)",
        documentation="https://kubernetes.io/docs/concepts/containers/images/",
        look=machine.kubernetes,
        states=LOOKED_FOR | {State.COVERED},
    ),
    Caveat(
        code="other-engines",
        title="Other container engines",
        severity=Severity.HIGH,
        meaning="podman, containerd, a dockerd in a container and their like pull by themselves; "
        "only those in a scope are restricted.",
        remedy="remove the engine, start it with `ramnet exec`, or add a [[scope]] for its network "
        "namespace",
        documentation=_RAM,
        look=machine.other_engines,
        states=LOOKED_FOR | {State.COVERED},
    ),
    Caveat(
        code="exemptions",
        title="Traffic that passes by the gate",
        severity=Severity.HIGH,
        meaning="What [[exempt]] names leaves without any decision.",
        remedy="keep each [[exempt]] as narrow as its program allows, with a uid or a cgroup",
        documentation=f"{_MAN}/man8/nft.8.html",
        look=configured.exemptions,
        states=CONFIGURED,
    ),
    Caveat(
        code="privileged-containers",
        title="Privileged containers",
        severity=Severity.MEDIUM,
        meaning="Such a container can leave its namespaces and change rules and routes.",
        remedy="start it without --privileged and without these capabilities",
        documentation=f"{_DOCKER}/engine/containers/run/#runtime-privilege-and-linux-capabilities",
        look=containers.privileged,
    ),
    Caveat(
        code="host-access-containers",
        title="Containers with an engine's socket or the host's namespaces",
        severity=Severity.MEDIUM,
        meaning="Such a container can have Docker start any other one, or reach this machine's "
        "processes, as root.",
        remedy="start it without that mount or --pid, --ipc, --uts host",
        documentation=f"{_DOCKER}/engine/security/#docker-daemon-attack-surface",
        look=containers.engine_access,
    ),
    Caveat(
        code="host-network-containers",
        title="Containers on the host's network",
        severity=Severity.MEDIUM,
        meaning="They share the network namespace of a scope: restricted with it, and able to take "
        "ports there and to send raw packets.",
        remedy="publish ports in place of --network host, or drop NET_RAW from it",
        documentation=f"{_DOCKER}/engine/network/drivers/host/",
        look=containers.host_network,
    ),
    Caveat(
        code="docker-group",
        title="Users who may speak to Docker's socket",
        severity=Severity.MEDIUM,
        meaning="Whoever may do that is root here by way of a privileged container, and can take "
        "every rule away.",
        remedy="take users out of the group where they need no Docker; else restrict what "
        "containers may do with an authorisation plugin",
        documentation=f"{_DOCKER}/engine/security/#docker-daemon-attack-surface",
        look=containers.docker_group,
    ),
    Caveat(
        code="mark-or-uid-forgery",
        title="Programs that can change rules, routes and marks",
        severity=Severity.MEDIUM,
        meaning="CAP_NET_ADMIN in a scope's network namespace can undo what ramnet sets; ramnet "
        "sets it again within milliseconds and tells it.",
        remedy="give that capability to no program that does not need it",
        documentation=f"{_MAN}/man7/capabilities.7.html",
        look=machine.forgery,
    ),
    Caveat(
        code="raw-sockets",
        title="Programs that can send raw packets",
        severity=Severity.MEDIUM,
        meaning="AF_PACKET frames pass no rule of nftables' output: CAP_NET_RAW in a scope's "
        "network namespace sends what it likes.",
        remedy="drop CAP_NET_RAW where it is not needed (docker run --cap-drop NET_RAW)",
        documentation=f"{_MAN}/man7/packet.7.html",
        look=machine.raw_sockets,
    ),
    Caveat(
        code="local-forwarders",
        title="Programs near dockerd that fetch for others",
        severity=Severity.MEDIUM,
        meaning="A pull-through cache or a TCP forwarder on loopback or in a container answers "
        "under a local name with what it fetched elsewhere.",
        remedy="deny its name in the policy, or stop it",
        documentation=f"{_DOCKER}/docker-hub/image-library/mirror/",
        look=machine.local_forwarders,
    ),
    Caveat(
        code="insecure-registries",
        title="Registries without verified TLS",
        severity=Severity.MEDIUM,
        meaning="dockerd does not verify who answers for these: whoever is at the address is "
        "believed, over plain HTTP as well.",
        remedy="give the registry a certificate and take it out of insecure-registries",
        documentation=f"{_DAEMON}#insecure-registries",
        look=registries.insecure,
    ),
    Caveat(
        code="registry-mirrors",
        title="Mirrors of Docker Hub",
        severity=Severity.MEDIUM,
        meaning="Images named as Docker Hub's come from another server; the policy decides by "
        "that server's name.",
        remedy="allow the mirror if it is meant, else take it out of registry-mirrors",
        documentation=f"{_DOCKER}/docker-hub/image-library/mirror/",
        look=registries.mirrors,
    ),
    Caveat(
        code="registry-redirections",
        title="hosts.toml that changes what a registry's name means",
        severity=Severity.MEDIUM,
        meaning="Images named after one registry come from another server; the policy decides by "
        "that server's name.",
        remedy="allow that server if it is meant, else remove the file",
        documentation="https://github.com/containerd/containerd/blob/main/docs/hosts.md",
        look=registries.redirections,
    ),
    Caveat(
        code="containers-dns-open",
        title="Every name is resolved",
        severity=Severity.MEDIUM,
        meaning="Whoever may ask for any name can send data out in names. Connections are decided "
        "all the same.",
        remedy='set "dns" in daemon.json and take containers_dns out of ramnet.toml',
        documentation=f"{_DAEMON}#daemon-dns-options",
        look=configured.containers_dns,
        states=CONFIGURED,
    ),
    Caveat(
        code="broad-hosts",
        title="Allowed hosts that all tenants of a cloud share",
        severity=Severity.MEDIUM,
        meaning="Allowing such a host allows whatever anybody has put there.",
        remedy="prefer a registry with hosts of its own; keep no such host longer than needed",
        documentation=_RAM,
        look=configured.broad_hosts,
    ),
    Caveat(
        code="policy-stale",
        title="The policy has not been renewed",
        severity=Severity.MEDIUM,
        meaning="What the organisation changed since is not known here; after its grace [trust] "
        "on_stale decides what holds.",
        remedy="connect this machine to its policy server, and run: ramnet refresh",
        documentation=_RAM,
        look=configured.stale,
    ),
    Caveat(
        code="sign-in-not-enforced",
        title="Who is not signed in is served",
        severity=Severity.MEDIUM,
        meaning="A policy for people or groups does not hold for who does not sign in.",
        remedy="set [session] enforce = true",
        documentation=f"{_DOCKER}/enterprise/security/enforce-sign-in/",
        look=configured.sign_in,
        states=CONFIGURED,
    ),
    Caveat(
        code="wsl-all-distributions",
        title="More is restricted than dockerd",
        severity=Severity.MEDIUM,
        meaning="Every program in the network namespace is restricted, other WSL distributions "
        "included.",
        remedy="configure a cgroup for the scope, on a kernel that can match it (5.15 and later)",
        documentation=_RAM,
        look=machine.whole_namespace,
    ),
    Caveat(
        code="buildx-kubernetes",
        title="Builders in a cluster elsewhere",
        severity=Severity.MEDIUM,
        meaning="A builder of buildx's kubernetes driver, or anything else in a cluster, fetches "
        "where no scope is.",
        remedy="restrict the cluster by its own means; remove kubeconfigs that are not needed",
        documentation=f"{_DOCKER}/build/builders/drivers/kubernetes/",
        look=machine.buildx_kubernetes,
    ),
    Caveat(
        code="windows-containers",
        title="Windows containers",
        severity=Severity.MEDIUM,
        meaning="Windows' own dockerd runs outside this machine and is restricted only if it uses "
        "the explicit proxy.",
        remedy="add an address that Windows reaches to [proxy] explicit and explicit_clients, and "
        "set it as the Windows daemon's proxy",
        documentation=_RAM,
        look=configured.windows_containers,
    ),
    Caveat(
        code="docker-debug",
        title="Docker Debug",
        severity=Severity.LOW,
        meaning="Docker's own Registry Access Management does not restrict what `docker debug` "
        "pulls for its toolbox; ramnet does where that is done in a scope, and nowhere else.",
        remedy="remove the plugin where it is not needed",
        documentation=f"{_DOCKER}/reference/cli/docker/debug/",
        look=machine.docker_debug,
    ),
    Caveat(
        code="docker-load",
        title="Images that came by no registry",
        severity=Severity.LOW,
        meaning="`docker load` and `docker import` take an image from a file: no registry is "
        "asked, and no policy. An image that was built here looks the same.",
        remedy="know where these are from; an authorization plugin can refuse POST /images/load",
        documentation=f"{_DOCKER}/reference/cli/docker/image/load/",
        look=containers.fileborn_images,
    ),
    Caveat(
        code="embedded-dns-shared",
        title="dockerd asks for its containers' names",
        severity=Severity.LOW,
        meaning="Docker 28 and later resolve names for containers on user-defined networks in "
        "dockerd itself, where nobody can tell whose question it is.",
        remedy='set "dns" in daemon.json, to a resolver that containers reach',
        documentation=f"{_DAEMON}#daemon-dns-options",
        look=registries.embedded_dns,
    ),
    Caveat(
        code="docker-proxies",
        title="Proxies of dockerd's that ramnet does not know",
        severity=Severity.LOW,
        meaning="The gate answers in their place and dials by itself, which fails where they are "
        "the only way out.",
        remedy="name the proxy as [proxy] parent, or take it from dockerd",
        documentation=f"{_DOCKER}/engine/daemon/proxy/",
        look=registries.proxies,
    ),
    Caveat(
        code="no-proxy",
        title="Hosts that dockerd dials past its proxy",
        severity=Severity.LOW,
        meaning="no-proxy goes around an explicit proxy, and never around ramnet's rules; where "
        "only the explicit proxy restricts (Windows), it goes around the policy.",
        remedy="keep it as short as can be",
        documentation=f"{_DOCKER}/engine/daemon/proxy/",
        look=registries.no_proxy,
    ),
    Caveat(
        code="kernel-capabilities",
        title="Parts of nftables that this kernel lacks",
        severity=Severity.LOW,
        meaning="ramnet takes another way for each; `ramnet status` names the tier and the reason.",
        remedy="a kernel with these options",
        documentation="https://wiki.nftables.org/",
        look=machine.capabilities,
    ),
    Caveat(
        code="domain-fronting",
        title="Allowed hosts on a CDN",
        severity=Severity.LOW,
        meaning="By design allowed TLS is not decrypted: a client may name an allowed host outside "
        "and another customer of the same CDN inside, where the CDN lets it.",
        remedy="prefer registries whose layers lie on hosts of their own",
        documentation="https://attack.mitre.org/techniques/T1090/004/",
        look=configured.domain_fronting,
    ),
    Caveat(
        code="push-pull",
        title="Push and pull are not told apart",
        severity=Severity.LOW,
        meaning="By design: an allowed registry may be pushed to as well.",
        remedy="restrict pushes at the registry",
        documentation=_RAM,
        look=configured.push_pull,
        states=BY_DESIGN,
    ),
    Caveat(
        code="cli-fetches",
        title="Clients that fetch by themselves",
        severity=Severity.LOW,
        meaning="`docker manifest`, `docker buildx imagetools` and parts of `docker login` run in "
        "the client: restricted in a scope, not elsewhere.",
        remedy="where clients must be restricted, run them in a scope",
        documentation=f"{_DOCKER}/reference/cli/docker/buildx/imagetools/",
        look=configured.cli_fetches,
        states=BY_DESIGN,
    ),
)


def examine(facts: Facts) -> list[Report]:
    """Look for every caveat, most severe first."""
    return [Report(caveat, caveat.look(facts)) for caveat in CAVEATS]
