"""``ramnet caveats`` on a machine in each state: with everything, with nothing, and out of sight.

Each state is made once and looked at once; the tests read what was found. The pieces are real:
containers of a real dockerd, processes with these capabilities, files where their owners keep them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from ramnet.caveats import CAVEATS
from tests.lab import Docker, Lab, Ramnet, policy_text
from tests.lab import addresses as at
from tests.lab.processes import Process, wait_until
from tests.lab.service import CONFIG, DEFAULT_CONFIG, POLICY
from tests.lab.vm import Vm

pytestmark = pytest.mark.lab

Found = dict[str, dict[str, Any]]
"""Reports by code."""

QUIET_CONFIG = DEFAULT_CONFIG.replace('netns = "self"', 'netns = "/run/quiet"')
BUSY_CONFIG = f"""{DEFAULT_CONFIG}
[resolver]
containers_dns = "allow"
[[exempt]]
uid = 0
proto = "udp"
port = 123
"""
UNRESTRICTED = json.dumps(
    {
        "enabled": False,
        "standard_registries": [{"id": "DockerHub", "allowed": False}],
        "custom_registries": [],
    }
)
IMAGE = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
CONTAINERS = {
    "buildx_buildkit_x0": ["moby/buildkit:buildx-stable-1"],
    "near": ["--network", "host", IMAGE],
    "strong": ["--privileged", IMAGE],
    "able": ["--cap-add", "SYS_ADMIN", IMAGE],
    "socket": ["--volume", "/run/docker.sock:/run/docker.sock", IMAGE],
    "pids": ["--pid", "host", IMAGE],
    "node": ["--label", "io.x-k8s.kind.cluster=kind", IMAGE],
    "cache": ["--env", "REGISTRY_PROXY_REMOTEURL=https://elsewhere.example", IMAGE],
}
STOPPED = {"strong", "able"}
DAEMON = {
    "insecure-registries": ["plain.example:5000", "198.51.100.0/24"],
    "registry-mirrors": ["https://mirror.example"],
}
PROXIES = {"HTTPS_PROXY": "http://192.0.2.77:8080", "NO_PROXY": "past.example"}
_RAW_SOCKET = (
    "import socket, time\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
    "print('open', flush=True)\ntime.sleep(600)"
)
_UNPRIVILEGED = """
import os, sys, ramnet.caveats, ramnet.daemon.caveats
from ramnet import cli
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
cli.main(sys.argv[1:])
"""
#: Those that nothing has to be looked at for: configuration alone, or design.
CONFIGURED = {
    "exemptions",
    "containers-dns-open",
    "windows-containers",
    "push-pull",
    "cli-fetches",
    "policy-stale",
    "sign-in-not-enforced",
}


@dataclass
class Machine:
    """The vm, its files as they were, and what was started in it."""

    vm: Vm
    ramnet: Ramnet
    started: list[Process]

    def look(self, config: str, policy: str) -> Found:
        """Without a service: it gathers by itself."""
        self.ramnet.write_config(config)
        self.ramnet.write_policy(policy)
        return by_code(self.ramnet.command("caveats", "--json").check().out)

    def start(self, name: str, *arguments: str) -> Process:
        """A program that sleeps under another name."""
        self.vm.run(["ln", "-sf", "/usr/bin/sleep", f"/run/{name}"]).check()
        process = self.vm.start([*arguments, f"/run/{name}", "600"], log=name)
        self.started.append(process)
        wait_until(name, lambda: self.vm.run(["pgrep", "-x", name[:15]]).ok)
        return process

    def python(self, program: str) -> None:
        process = self.vm.start([sys.executable, "-I", "-c", program], log="raw")
        self.started.append(process)
        wait_until("its socket", lambda: process.log().endswith("open\n"))

    def append(self, inner: str, text: str) -> None:
        self.vm.write(inner, self.vm.path(inner).read_text() + text)


def by_code(text: str) -> Found:
    return {report["code"]: report for report in json.loads(text)}


@pytest.fixture(scope="module")
def lab(lab: Lab) -> Iterator[Lab]:
    """One of its own: whatever other tests have left running would be found, and rightly."""
    with Lab.create() as made:
        yield made


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    """A vm whose users have homes of its own; everything is put back at the end."""
    lab.ramnet.close()
    lab.docker.stop()
    machine, kept = Machine(lab.vm, lab.ramnet, []), {}
    for inner in ("/etc/passwd", "/etc/group"):
        kept[inner] = lab.vm.path(inner).read_text()
    lab.vm.write("/etc/passwd", "root:x:0:0:root:/run/root:/bin/sh\n")
    lab.vm.write("/etc/group", "root:x:0:\ndocker:x:991:\n")
    with ExitStack() as undo:
        for inner, text in kept.items():
            undo.callback(lab.vm.write, inner, text)
        undo.callback(lab.docker.stop)
        undo.callback(_forget, lab.docker)
        undo.callback(lambda: [process.stop() for process in machine.started])
        undo.callback(lab.vm.run, ["rm", "-rf", "/etc/docker/certs.d", "/run/dev"])
        undo.callback(lab.ramnet.close)
        yield machine


@pytest.fixture(scope="module")
def bare(lab: Lab, machine: Machine) -> Found:
    """dockerd as it comes, and nothing else."""
    lab.docker.start()
    lab.docker.forget()
    return machine.look(DEFAULT_CONFIG, policy_text(at.REGISTRY_ALLOWED.name))


@pytest.fixture(scope="module")
def quiet(machine: Machine, bare: Found) -> Found:
    """A scope in whose namespace one program runs, without any capability."""
    machine.vm.run(["touch", "/run/quiet"]).check()
    machine.vm.run(["unshare", "--net=/run/quiet", "true"]).check()
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    machine.start("harmless", "nsenter", "--net=/run/quiet", *drop)
    # Every capability, and over nothing but a user namespace of its own.
    machine.start("jailed", "nsenter", "--net=/run/quiet", "unshare", "--user", "--map-root-user")
    return machine.look(QUIET_CONFIG, UNRESTRICTED)


@pytest.fixture(scope="module")
def hidden(lab: Lab, machine: Machine, bare: Found) -> Found:
    """dockerd without its socket, a policy that is broken, a namespace that is not there."""
    socket = machine.vm.path("/run/docker.sock")
    socket.rename(socket.with_suffix(".away"))
    try:
        return machine.look(DEFAULT_CONFIG.replace('"self"', '"/run/none"'), "registry = 1\n")
    finally:
        socket.with_suffix(".away").rename(socket)


@pytest.fixture(scope="module")
def stranger(lab: Lab, machine: Machine, bare: Found) -> Found:
    """The same machine, seen by nobody."""
    machine.ramnet.write_config(DEFAULT_CONFIG)
    machine.ramnet.write_policy("")
    command = [sys.executable, "-c", _UNPRIVILEGED, "caveats", "--json", "--config", CONFIG]
    return by_code(machine.vm.run(command).check().out)


@pytest.fixture(scope="module")
def busy(lab: Lab, machine: Machine, quiet: Found, hidden: Found, stranger: Found) -> Found:
    """Everything at once; after the others, since it changes the machine."""
    _configure(machine)
    lab.docker.run("pull", IMAGE).check()  # while it has no proxy
    lab.docker.restart(config=DAEMON, environment=PROXIES)
    _run_containers(lab.docker)
    for name in ("kubelet", "podman"):
        machine.start(name)
    machine.start("conmon", "unshare", "--net")
    machine.python(_RAW_SOCKET)
    registry = ["docker-registry", "serve", "/etc/docker/near.yml"]
    machine.started.append(machine.vm.start(registry, log="near"))
    machine.vm.wait_listening(5055, machine.started[-1])
    return machine.look(
        BUSY_CONFIG, f'presets = ["gcr", "gitlab"]\n{policy_text(at.REGISTRY_ALLOWED.name)}'
    )


def _forget(docker: Docker) -> None:
    if docker.process is not None:
        docker.forget()


def _configure(machine: Machine) -> None:
    vm = machine.vm
    vm.write("/etc/docker/certs.d/odd.example/hosts.toml", '[host."https://other.example"]\n')
    vm.write("/etc/docker/near.yml", _REGISTRY.format(root=vm.directory / "near"))
    machine.append("/etc/passwd", "dev:x:1000:1000::/run/dev:/bin/sh\n")
    vm.write("/etc/group", "root:x:0:\ndocker:x:991:dev\n")
    vm.write("/run/dev/.docker/buildx/instances/far", '{"Name": "far", "Driver": "kubernetes"}')
    vm.write("/run/dev/.kube/config", "")


_REGISTRY = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: 127.0.0.1:5055}}
"""


def _run_containers(docker: Docker) -> None:
    docker.run("tag", IMAGE, "moby/buildkit:buildx-stable-1").check()
    for name, arguments in CONTAINERS.items():
        # Not every machine may hand out all capabilities; what is made is as telling.
        how = ["create"] if name in STOPPED else ["run", "--detach"]
        docker.run(*how, "--name", name, *arguments, "sleep", "600").check()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("buildx-docker-container", "container buildx_buildkit_x0: BuildKit builder x0"),
        ("kubernetes", "kubelet (pid"),
        ("kubernetes", "container node: of kind"),
        ("other-engines", "conmon (pid"),
        ("other-engines", "is in no scope"),
        ("other-engines", "is in scope dockerd, and restricted with it"),
        ("exemptions", "[[exempt]] uid=0 proto=udp port=123"),
        ("privileged-containers", "container strong (stopped): --privileged"),
        ("privileged-containers", "container able (stopped): --cap-add SYS_ADMIN"),
        ("host-access-containers", "container socket: has /run/docker.sock"),
        ("host-access-containers", "container pids: --pid host"),
        ("host-network-containers", "container near: --network host"),
        ("docker-group", "/run/docker.sock: group docker: dev"),
        ("mark-or-uid-forgery", "has CAP_NET_ADMIN"),
        ("raw-sockets", "AF_PACKET socket of python"),
        ("raw-sockets", "has CAP_NET_RAW"),
        ("local-forwarders", "docker-registry (pid"),
        ("local-forwarders", "listens on 127.0.0.1:5055"),
        ("local-forwarders", "container cache: pull-through cache of https://elsewhere.example"),
        ("insecure-registries", "198.51.100.0/24"),
        ("insecure-registries", "plain.example:5000"),
        ("registry-mirrors", "https://mirror.example"),
        ("registry-redirections", "odd.example/hosts.toml sends odd.example to https://other"),
        ("containers-dns-open", 'containers_dns = "allow"'),
        ("broad-hosts", "storage.googleapis.com is shared by all tenants"),
        ("buildx-kubernetes", "/run/dev/.docker/buildx/instances/far: driver kubernetes"),
        ("buildx-kubernetes", "kubeconfig /run/dev/.kube/config"),
        ("docker-proxies", "names the proxy 192.0.2.77:8080"),
        ("no-proxy", "past.example"),
        ("domain-fronting", "cdn.registry.gitlab-static.net"),
        ("push-pull", "/etc/ramnet/policy.toml"),
        ("cli-fetches", "scope dockerd: by namespace"),
    ],
)
def test_active(busy: Found, code: str, words: str) -> None:
    assert busy[code]["state"] == "active"
    assert any(words in line for line in busy[code]["evidence"]), busy[code]["evidence"]


def test_an_unrestricted_policy(quiet: Found) -> None:
    report = quiet["policy-unrestricted"]
    assert report["state"] == "active"
    assert report["evidence"] == [f"{POLICY}: enabled = false"]


ABSENT_BY_QUIET = {"raw-sockets", "mark-or-uid-forgery", "domain-fronting"}
ALWAYS_ACTIVE = {"push-pull", "cli-fetches"}
BY_KERNEL = {"kernel-capabilities", "wsl-all-distributions", "windows-containers"}
"""On the machine's own kernel; their states are walked in tests/unit."""


@pytest.mark.parametrize(
    "code", [c.code for c in CAVEATS if c.code not in ALWAYS_ACTIVE | BY_KERNEL]
)
def test_absent(bare: Found, quiet: Found, code: str) -> None:
    report = (quiet if code in ABSENT_BY_QUIET else bare)[code]
    assert (report["state"], report["evidence"]) == ("absent", [])


_OF_DOCKER = (
    "buildx-docker-container",
    "privileged-containers",
    "host-access-containers",
    "host-network-containers",
    "docker-group",
    "insecure-registries",
    "registry-mirrors",
    "docker-proxies",
    "no-proxy",
    "embedded-dns-shared",
    "local-forwarders",
)


@pytest.mark.parametrize("code", [*_OF_DOCKER, "kubernetes"])
def test_unknown_without_dockers_socket(hidden: Found, code: str) -> None:
    report = hidden[code]
    assert report["state"] == "unknown"
    assert any("dockerd (pid" in line or "docker.sock" in line for line in report["evidence"])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raw-sockets", "/run/none"),
        ("mark-or-uid-forgery", "/run/none"),
        ("other-engines", "/run/none"),
        ("local-forwarders", "/run/none"),
        ("kernel-capabilities", "/run/none"),
        ("wsl-all-distributions", "/run/none"),
        ("policy-unrestricted", f"{POLICY}:1: registry"),
        ("broad-hosts", f"{POLICY}:1: registry"),
        ("domain-fronting", f"{POLICY}:1: registry"),
    ],
)
def test_unknown_without_the_rest(hidden: Found, code: str, words: str) -> None:
    report = hidden[code]
    assert report["state"] == "unknown"
    assert any(words in line for line in report["evidence"]), report["evidence"]


@pytest.mark.parametrize("code", [c.code for c in CAVEATS if c.code not in CONFIGURED])
def test_unknown_to_who_may_not_look(stranger: Found, code: str) -> None:
    assert stranger[code]["state"] == "unknown"
    assert stranger[code]["evidence"]


def test_a_running_service_tells_how_it_enforces_and_which_processes_are_its_own(
    lab: Lab, machine: Machine, busy: Found
) -> None:
    machine.ramnet.start(policy_text(at.REGISTRY_ALLOWED.name))
    reports = by_code(machine.ramnet.command("caveats", "--json").check().out)
    (status,) = machine.ramnet.status()["scopes"]
    missing = ", ".join(status["missing_capabilities"])
    evidence = [f"scope dockerd, tier redirect: {missing}"] if missing else []
    assert reports["kernel-capabilities"]["evidence"] == evidence
    holders = " ".join(reports["mark-or-uid-forgery"]["evidence"])
    assert "ramnet" not in holders
    ports = " ".join(reports["local-forwarders"]["evidence"])
    assert ":3128" not in ports
    machine.ramnet.close()


def test_fail_on_and_the_table(machine: Machine, busy: Found) -> None:
    machine.ramnet.write_config(BUSY_CONFIG)
    shown = machine.ramnet.command("caveats", "--fail-on", "high")
    assert shown.code == 1
    assert "buildx_buildkit_x0" in shown.out
    assert machine.ramnet.command("caveats", "--fail-on", "worst").code == 2
