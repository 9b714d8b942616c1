"""Caveats from facts alone: what no lab can be, and the rules that hold for all of them."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from ramnet.caveats import CAVEATS, Caveat, Severity, State, Unseen, examine
from ramnet.caveats.caveat import MAX_EVIDENCE, MAX_WORDS, bounded, found
from ramnet.caveats.facts import (
    Builder,
    Container,
    DockerDaemon,
    Homes,
    Listener,
    PolicyFacts,
    Process,
    Redirection,
    SignedFacts,
    Sockets,
)
from ramnet.config import Config, Proxy, Resolver, Scope, Session
from tests.unit.caveats.build import CONFIG, HERE, NOTHING, docker, look, scope

AWAY = Unseen("a reason")
ALWAYS = {"push-pull", "cli-fetches"}
WSL = "5.15.153.1-microsoft-standard-WSL2"
AFAR = Config(
    policy="/p",
    scopes=[Scope(name="s")],
    proxy=Proxy(explicit=["192.0.2.2:3128"], explicit_clients=["192.0.2.0/24"]),
)
CLOSED = Config(policy="/p", scopes=[Scope(name="s")], proxy=Proxy(explicit=["192.0.2.2:3128"]))
OPEN = Config(policy="/p", scopes=[Scope(name="s")], resolver=Resolver(containers_dns="allow"))


def test_a_machine_with_nothing() -> None:
    states = {report.caveat.code: report.finding.state for report in examine(NOTHING)}
    assert {code for code, state in states.items() if state is State.ACTIVE} == ALWAYS
    assert {code for code, state in states.items() if state is State.ABSENT} == {*states} - ALWAYS


def test_what_cannot_be_looked_at_is_never_absent() -> None:
    hidden = replace(
        NOTHING,
        scopes=scope(netns=AWAY, means=AWAY, missing=AWAY, sockets=AWAY),
        dockers=AWAY,
        processes=AWAY,
        homes=AWAY,
        policy=AWAY,
        signed=AWAY,
    )
    for report in examine(hidden):
        assert report.finding.state in report.caveat.states
        if State.UNKNOWN in report.caveat.states and report.caveat.code != "windows-containers":
            assert report.finding.state is State.UNKNOWN
            assert any("a reason" in line for line in report.finding.evidence)


def test_no_dockerd_in_view_proves_nothing() -> None:
    finding = look("buildx-docker-container", dockers=())
    assert finding.state is State.UNKNOWN
    assert finding.evidence == (
        "not known: no dockerd of root's is in view; start it, or ask where it runs",
    )


def signing_in(**parts: Any) -> Config:
    session = Session(jwks="/jwks.json", issuer="https://id.example", audience="ramnet", **parts)
    return Config(policy="/p", scopes=[Scope(name="s")], session=session)


def allowing(*hosts: str) -> PolicyFacts:
    return PolicyFacts("/p", enabled=True, entries=len(hosts), broad=(), allowed=hosts)


COVERING = scope(covers=frozenset({"node"}))
_LABEL = ("io.x-k8s.kind.cluster", "kind")
NODE = Container(name="node", image="kindest/node", identity="node", labels=(_LABEL,))
KUBELET = Process(7, "kubelet", 0, netns=1, cgroup="/docker/node/kubelet")


@pytest.mark.parametrize(
    ("scopes", "processes", "state"),
    [
        (scope(), (KUBELET,), State.ACTIVE),
        (COVERING, (KUBELET,), State.COVERED),
        (COVERING, (), State.COVERED),
        (COVERING, (KUBELET, replace(KUBELET, cgroup="/kubelet")), State.ACTIVE),
        (COVERING, AWAY, State.UNKNOWN),
    ],
)
def test_a_cluster_in_covered_containers(scopes: Any, processes: Any, state: State) -> None:
    dockers = docker(containers=(NODE,))
    found = look("kubernetes", scopes=scopes, processes=processes, dockers=dockers)
    assert found.state is state
    if state is State.COVERED:
        assert any("node: of kind, image kindest/node: covered" in line for line in found.evidence)


NEW = DockerDaemon(7, "28.5.2", names_dns=False)


@pytest.mark.parametrize(
    ("code", "parts", "state"),
    [
        ("kernel-capabilities", {"scopes": scope(missing=("persist",))}, State.ACTIVE),
        ("wsl-all-distributions", {"kernel_release": WSL}, State.ACTIVE),
        ("wsl-all-distributions", {"scopes": scope(cgroup="ramnet.slice")}, State.ACTIVE),
        (
            "wsl-all-distributions",
            {"kernel_release": WSL, "scopes": scope(cgroup="a.slice", means="cgroup2")},
            State.ABSENT,
        ),
        ("windows-containers", {"kernel_release": WSL}, State.ACTIVE),
        ("windows-containers", {"kernel_release": "6.6.0-linuxkit"}, State.ACTIVE),
        ("windows-containers", {"kernel_release": WSL, "config": AFAR}, State.UNKNOWN),
        ("windows-containers", {"kernel_release": WSL, "config": CLOSED}, State.ACTIVE),
        ("embedded-dns-shared", {"dockers": docker(daemon=NEW)}, State.ACTIVE),
        (
            "embedded-dns-shared",
            {"dockers": docker(daemon=replace(NEW, names_dns=True))},
            State.ABSENT,
        ),
        (
            "embedded-dns-shared",
            {"dockers": docker(daemon=replace(NEW, version=None))},
            State.UNKNOWN,
        ),
        ("containers-dns-open", {"config": OPEN}, State.ACTIVE),
        ("docker-proxies", {"dockers": docker(registries=AWAY)}, State.UNKNOWN),
        ("docker-debug", {"homes": Homes(debuggers=("/p/docker-debug",))}, State.ACTIVE),
        ("docker-debug", {"homes": Homes(unread=("/home/x: no",))}, State.UNKNOWN),
        ("docker-load", {"dockers": docker(fileborn=("a:1",))}, State.ACTIVE),
        ("docker-load", {"dockers": docker(fileborn=AWAY)}, State.UNKNOWN),
        ("policy-stale", {"signed": SignedFacts("fresh", "later", "deny")}, State.ABSENT),
        ("policy-stale", {"signed": SignedFacts("expired", "now", "deny")}, State.ACTIVE),
        ("policy-stale", {"signed": SignedFacts("overdue", "now", "keep")}, State.ACTIVE),
        ("policy-stale", {"signed": SignedFacts("none", "None", "deny")}, State.UNKNOWN),
        ("sign-in-not-enforced", {"config": signing_in()}, State.ACTIVE),
        ("sign-in-not-enforced", {"config": signing_in(enforce=True)}, State.ABSENT),
        ("policy-unrestricted", {"config": signing_in(absent="unrestricted")}, State.ACTIVE),
        ("policy-unrestricted", {"config": signing_in()}, State.ABSENT),
        ("domain-fronting", {"policy": allowing("d5l0.cloudfront.net")}, State.ACTIVE),
        ("domain-fronting", {"policy": allowing("d5l0.cloudfront.net:443")}, State.ACTIVE),
        ("domain-fronting", {"policy": allowing("cloudfront.net")}, State.ACTIVE),
        ("domain-fronting", {"policy": allowing("registry.example")}, State.UNKNOWN),
        (
            "buildx-kubernetes",
            {"homes": Homes(builders=(Builder("/b", Unseen("odd")),))},
            State.UNKNOWN,
        ),
        (
            "buildx-kubernetes",
            {"homes": Homes(builders=(Builder("/b", "docker-container"),))},
            State.ABSENT,
        ),
        (
            "buildx-kubernetes",
            {"homes": Homes(kubeconfigs=("/root/.kube/config",), unread=("/home/x: no",))},
            State.ACTIVE,
        ),
    ],
)
def test_state(code: str, parts: dict[str, Any], state: State) -> None:
    assert look(code, **parts).state is state
    (caveat,) = [each for each in CAVEATS if each.code == code]
    assert state in caveat.states


@pytest.mark.parametrize(
    ("container", "is_one"),
    [
        (Container(name="buildx_buildkit_x0", image="any"), True),
        (Container(name="builder", image="moby/buildkit"), True),
        (Container(name="builder", image="docker.io/moby/buildkit:v0.13@sha256:0"), True),
        (Container(name="builder", image="mirror.example:5000/moby/buildkit"), True),
        (Container(name="b", image="a", labels=(("com.docker.buildx.x", "1"),)), True),
        (Container(name="buildx_buildkit_x0", image="any", running=False), True),
        (Container(name="app", image="moby/buildkitty"), False),
        (Container(name="app", image="registry.example:5000/app"), False),
    ],
)
def test_a_builder(container: Container, is_one: bool) -> None:
    finding = look("buildx-docker-container", dockers=docker(containers=(container,)))
    assert finding.state is (State.ACTIVE if is_one else State.ABSENT)


@pytest.mark.parametrize(
    ("servers", "state"),
    [
        (("https://other.example",), State.ACTIVE),
        (("https://registry.example", "https://registry.example:443/v2"), State.ABSENT),
        (("https://[",), State.ACTIVE),
        (Unseen("it is not TOML"), State.UNKNOWN),
    ],
)
def test_a_redirection(servers: tuple[str, ...] | Unseen, state: State) -> None:
    each = Redirection("/etc/docker/certs.d/x/hosts.toml", "registry.example", servers)
    assert look("registry-redirections", dockers=docker(redirections=(each,))).state is state


def test_docker_hubs_own_host_is_no_redirection() -> None:
    each = Redirection("/h", "docker.io", ("https://registry-1.docker.io",))
    finding = look("registry-redirections", dockers=docker(redirections=(each,)))
    assert finding.state is State.ABSENT


ENGINE = Process(9, "podman", 1000, netns=HERE, cgroup="/user.slice")


@pytest.mark.parametrize(
    ("process", "scopes", "state"),
    [
        (ENGINE, scope(), State.COVERED),
        (replace(ENGINE, netns=1), scope(), State.ACTIVE),
        (ENGINE, scope(cgroup="a.slice", means="cgroup2"), State.ACTIVE),
        (
            replace(ENGINE, cgroup="/a.slice/x"),
            scope(cgroup="a.slice", means="cgroup2"),
            State.COVERED,
        ),
        (
            replace(ENGINE, cgroup="/a.slice2"),
            scope(cgroup="a.slice", means="cgroup2"),
            State.ACTIVE,
        ),
        (replace(ENGINE, netns=1), scope(means=AWAY), State.UNKNOWN),
        (replace(ENGINE, netns=1, child_of_docker=True), scope(), State.ABSENT),
        (Process(7, "dockerd", 0, netns=HERE), scope(), State.ABSENT),
        (Process(7, "dockerd", 0, netns=1), scope(), State.ACTIVE),
        (Process(7, "dockerd", 1000, netns=HERE), scope(), State.COVERED),
    ],
)
def test_another_engine(process: Process, scopes: Any, state: State) -> None:
    assert look("other-engines", processes=(process,), scopes=scopes).state is state


def test_who_holds_a_capability_elsewhere_does_not_count_and_users_come_first() -> None:
    raw = ("NET_RAW",)
    processes = (
        *(Process(n, "shim", 0, netns=HERE, capabilities=raw) for n in (1, 4, 5, 6, 7, 8, 9)),
        Process(2, "sniffer", 1000, netns=HERE, capabilities=raw),
        Process(3, "elsewhere", 0, netns=1, capabilities=raw),
    )
    assert look("raw-sockets", processes=processes).evidence == (
        "scope dockerd: sniffer (uid 1000, pid 2) has CAP_NET_RAW",
        "scope dockerd: shim (uid 0, pids 1, 4, 5, 6, 7 and 2 more) has CAP_NET_RAW",
    )


def test_an_unknown_listener_leaves_forwarders_open_and_dockers_own_does_not() -> None:
    def listening(name: str) -> State:
        listener = Listener("127.0.0.1", 5000, Process(9, name, 0, netns=HERE))
        sockets = Sockets(listeners=(listener,))
        return look("local-forwarders", scopes=scope(sockets=sockets)).state

    assert listening("squid") is State.ACTIVE
    assert listening("mystery") is State.UNKNOWN
    assert listening("docker-proxy") is State.ABSENT


def test_evidence_is_printable_short_and_bounded() -> None:
    lines = [f"{n}\x1b[31m\n{'x' * 1000}" for n in range(MAX_EVIDENCE + 5)]
    evidence = bounded(lines)
    assert len(evidence) == MAX_EVIDENCE + 1
    assert evidence[-1] == "and 5 more"
    assert all(line.isprintable() and len(line) <= MAX_WORDS + 3 for line in evidence)


def test_what_is_seen_outweighs_what_is_not() -> None:
    finding = found(["seen"], ["why"], covered=["kept"])
    assert finding.state is State.ACTIVE
    assert finding.evidence == ("seen", "kept", "not known: why")
    assert found([], ["why"], covered=["kept"]).state is State.UNKNOWN
    assert found([], covered=["kept"]).state is State.COVERED


def test_the_table_is_ordered_whole_and_a_contract() -> None:
    order = list(Severity)
    ranks = [order.index(caveat.severity) for caveat in CAVEATS]
    assert ranks == sorted(ranks)
    codes = [caveat.code for caveat in CAVEATS]
    assert len(set(codes)) == len(codes)
    for report in examine(NOTHING):
        document = json.loads(json.dumps(report.document()))
        assert list(document) == [
            "code",
            "title",
            "severity",
            "state",
            "evidence",
            "meaning",
            "remedy",
            "documentation",
        ]
        assert document["documentation"].startswith("https://")
        assert all(document[key] for key in ("title", "meaning", "remedy"))


CONTRACT = """
high policy-unrestricted not-enforced buildx-docker-container kubernetes other-engines exemptions
medium privileged-containers host-access-containers host-network-containers docker-group
medium mark-or-uid-forgery raw-sockets local-forwarders insecure-registries registry-mirrors
medium registry-redirections containers-dns-open broad-hosts policy-stale sign-in-not-enforced
medium wsl-all-distributions buildx-kubernetes windows-containers
low docker-debug docker-load embedded-dns-shared docker-proxies no-proxy kernel-capabilities
low domain-fronting push-pull cli-fetches
"""


def test_what_scripts_depend_on() -> None:
    """Codes are added and never renamed; a severity is raised or lowered with a changelog line."""
    rows = [line.split() for line in CONTRACT.split("\n") if line]
    expected = {code: severity for severity, *codes in rows for code in codes}
    assert {caveat.code: caveat.severity.value for caveat in CAVEATS} == expected
    assert [state.value for state in State] == ["active", "covered", "absent", "unknown"]
    assert [severity.value for severity in Severity] == ["high", "medium", "low"]
    evidence = [report.document()["evidence"] for report in examine(NOTHING)]
    assert all(isinstance(line, str) for lines in evidence for line in lines)


@pytest.mark.parametrize("caveat", CAVEATS, ids=[caveat.code for caveat in CAVEATS])
def test_the_words_of_a_caveat(caveat: Caveat) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", caveat.code)
    assert caveat.title == caveat.title.strip()
    assert not caveat.title.endswith(".")
    assert len(caveat.title) <= 60
    assert caveat.meaning.endswith(".")
    assert not caveat.remedy.endswith(".")
    assert all(text.isascii() for text in (caveat.title, caveat.meaning, caveat.remedy))
    assert caveat.states
    # What is by design has no severity that a check could never pass.
    assert State.ABSENT in caveat.states or caveat.severity is Severity.LOW


def test_what_fails_a_check() -> None:
    reports = {report.caveat.code: report for report in examine(NOTHING)}
    assert reports["push-pull"].fails(Severity.LOW)
    assert not reports["push-pull"].fails(Severity.MEDIUM)
    assert not reports["exemptions"].fails(Severity.LOW)
    hidden = {r.caveat.code: r for r in examine(replace(NOTHING, dockers=AWAY, config=CONFIG))}
    assert hidden["buildx-docker-container"].fails(Severity.HIGH)
