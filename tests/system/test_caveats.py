"""``ramnet caveats`` on a machine in each state: with everything, with nothing, and out of sight.

Each state is made once and looked at once; the tests read what was found. The pieces are real:
containers of a real dockerd, processes with these capabilities, files where their owners keep them.
``STATES`` is the list: code, state, the machine that is in it. What stands in for a real part:

========  ==================  =====================================  ==============================
machine   caveat              what stands in                         the real part
========  ==================  =====================================  ==============================
wsl       windows-containers  the kernel's name (uname)              the row "5.10 as WSL has it" of
                                                                     ``make test-matrix``
odd       kernel-capabilities parts of a real kernel that are not    the same: kernels of 5.10, 6.1
          wsl-all-distri...   used (``RAMNET_WITHOUT``)              (and two distributions)
busy      kubernetes,         programs that sleep under such a       none: no Kubernetes can be had
          other-engines       name; labels on a container            in here
========  ==================  =====================================  ==============================

``absent`` of windows-containers is by this machine's own kernel, unless that is WSL's. Docker 28
and libnftables 1.1 are real, of Debian sid (``newest``), as this machine's older ones are. What a
caveat cannot come to has no row: ``unknown`` of what ``ramnet.toml`` alone decides (without it
there is no report), anything but ``active`` of what holds by design.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from ramnet.caveats import CAVEATS, State
from ramnet.trust.keys import KeyFolder
from ramnet.trust.names import BASE
from ramnet.trust.publisher import Lifetimes, Repository
from ramnet.trust.roots import generate
from tests.lab import Docker, Lab, Ramnet, foreign, policy_text
from tests.lab import addresses as at
from tests.lab.foreign import ForeignRoot
from tests.lab.processes import LabError, Process, wait_until
from tests.lab.service import CONFIG, DEFAULT_CONFIG, POLICY, PROGRAM
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
_OTHER_KERNEL = """
import platform, sys
platform.release = lambda: sys.argv[1]
from ramnet import cli
cli.main(sys.argv[2:])
"""
WSL = "5.15.167.4-microsoft-standard-WSL2"
_BLINKERED = ["setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"]
SERVER = at.FILES_ALLOWED.name
SIGNED_CONFIG = f"""{DEFAULT_CONFIG.replace(POLICY, f"https://{SERVER}/policy")}
[trust]
root = "/etc/ramnet/root.json"
"""
_ODD = DEFAULT_CONFIG.replace(
    'explicit = ["127.0.0.1:3128"]',
    f'explicit = ["{at.VM_IPV4}:3128"]\nexplicit_clients = ["192.0.2.0/24"]',
).replace('netns = "self"', 'netns = "self"\ncgroup = "ramnet-caveats.slice"')
ODD_CONFIG = f"""{_ODD}
[session]
issuer = "https://id.example"
audience = "ramnet"
jwks = "/etc/ramnet/jwks.json"
"""


@dataclass
class Machine:
    """The vm, its files as they were, and what was started in it."""

    vm: Vm
    ramnet: Ramnet
    started: list[Process]
    kubelet: Process | None = None

    def look(
        self,
        config: str,
        policy: str,
        *,
        prefix: Sequence[str] = (),
        program: Sequence[str] = (PROGRAM,),
        without: str = "",
    ) -> Found:
        """Without a service: it gathers by itself."""
        self.ramnet.write_config(config)
        self.ramnet.write_policy(policy)
        command = [*prefix, *program, "caveats", "--json", "--config", CONFIG]
        environment = {"RAMNET_WITHOUT": without}
        return by_code(self.vm.run(command, environment=environment).check().out)

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
def odd(machine: Machine, bare: Found) -> Found:
    """A cgroup that a kernel without these parts cannot match, an explicit proxy for others, a
    policy that only records."""
    without = "socket_cgroupv2,meta_cgroup"
    policy = f"enforce = false\n{policy_text(at.REGISTRY_ALLOWED.name)}"
    return machine.look(ODD_CONFIG, policy, without=without)


@pytest.fixture(scope="module")
def guest(machine: Machine, bare: Found) -> Found:
    """Another engine in the scope, and nowhere else."""
    podman = machine.start("podman")
    try:
        return machine.look(DEFAULT_CONFIG, policy_text(at.REGISTRY_ALLOWED.name))
    finally:
        podman.stop()


@pytest.fixture(scope="module")
def blinkered(machine: Machine, bare: Found) -> Found:
    """Root that may not look at others' processes, where /proc does not even show them."""
    hide = 'mount -t proc -o hidepid=invisible proc /proc && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", hide, "sh", *_BLINKERED]
    return machine.look(DEFAULT_CONFIG, policy_text(at.REGISTRY_ALLOWED.name), prefix=prefix)


@pytest.fixture(scope="module")
def puzzling(machine: Machine, bare: Found) -> Found:
    """Files that are there and cannot be understood, users who stand in no file."""
    vm, instances = machine.vm, "/run/root/.docker/buildx/instances"
    kept = vm.path("/etc/nsswitch.conf").read_text()
    vm.write("/etc/docker/certs.d/broken.example/hosts.toml", "[[[")
    vm.path("/etc/docker/certs.d/folder.example/hosts.toml").mkdir(parents=True)
    vm.write(f"{instances}/broken", "{")
    vm.path(f"{instances}/link").symlink_to("/etc/shadow")
    vm.write("/etc/nsswitch.conf", f"{kept}group: files sss\npasswd: files sss\n")
    try:
        return machine.look(DEFAULT_CONFIG, policy_text(at.REGISTRY_ALLOWED.name))
    finally:
        vm.write("/etc/nsswitch.conf", kept)
        vm.run(["rm", "-rf", "/etc/docker/certs.d", "/run/root/.docker"]).check()


@pytest.fixture(scope="module")
def signed(
    lab: Lab, machine: Machine, stranger: Found, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Found, Found]]:
    """A service with a signed policy: before what signs it expires, and after."""
    keys, site = KeyFolder(tmp_path_factory.mktemp("keys")), lab.inet.web.roots[SERVER] / "policy"
    machine.vm.write("/etc/ramnet/root.json", generate(keys).root.to_bytes().decode())

    def publish(seconds: float) -> None:
        repository = Repository(site, keys, Lifetimes(timestamp=seconds / 86400))
        repository.publish({BASE: policy_text(at.REGISTRY_ALLOWED.name).encode()})

    def caveats() -> Found:
        return by_code(machine.ramnet.command("caveats", "--json").check().out)

    def has_expired(status: dict[str, Any]) -> bool:
        return bool(status["policy"]["signed"]["state"] == "expired")

    publish(600)
    machine.ramnet.start(config=SIGNED_CONFIG)
    before = caveats()
    publish(2)
    machine.ramnet.command("refresh").check()
    machine.ramnet.wait_status(has_expired, 30)
    after = caveats()
    machine.ramnet.close()
    yield before, after
    shutil.rmtree(site)


@pytest.fixture(scope="module")
def fresh(signed: tuple[Found, Found]) -> Found:
    return signed[0]


@pytest.fixture(scope="module")
def expired(signed: tuple[Found, Found]) -> Found:
    return signed[1]


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
    """The same machine, seen by nobody, and no policy fetched yet."""
    machine.ramnet.write_config(SIGNED_CONFIG)
    machine.ramnet.write_policy("")
    command = [sys.executable, "-c", _UNPRIVILEGED, "caveats", "--json", "--config", CONFIG]
    return by_code(machine.vm.run(command).check().out)


@pytest.fixture(scope="module")
def wsl(machine: Machine, bare: Found) -> Found:
    """This machine, but for its kernel's name: what uname(2) tells, nobody can choose."""
    prefix = [sys.executable, "-c", _OTHER_KERNEL, WSL]
    return machine.look(DEFAULT_CONFIG, policy_text(), prefix=prefix, program=())


@pytest.fixture(scope="module")
def debian_sid() -> ForeignRoot | None:
    """None where the mirror does not have it, which is no fault of ramnet's."""
    try:
        return foreign.newest()
    except LabError:
        return None


@pytest.fixture(scope="module")
def newest(lab: Lab, machine: Machine, bare: Found, debian_sid: ForeignRoot | None) -> Found:
    """Another dockerd and another libnftables: those of Debian sid, in a root of their own."""
    root = debian_sid
    if root is None:
        pytest.skip("Debian sid's dockerd cannot be had here")
    docker = lab.second_docker("newest")
    lab.docker.stop()
    docker.start(prefix=root.enter(machine.vm))
    try:
        return machine.look(DEFAULT_CONFIG, policy_text(), prefix=root.enter(machine.vm))
    finally:
        docker.stop()
        lab.docker.start()


@pytest.fixture(scope="module")
def covered(machine: Machine, busy: Found) -> Found:
    """Builder and node of the busy machine in a scope that covers them, and no kubelet."""
    assert machine.kubelet is not None
    machine.kubelet.stop()
    words = 'netns = "self"\ncontainers = ["buildx", "kind"]'
    config = DEFAULT_CONFIG.replace('netns = "self"', words)
    machine.ramnet.start(policy_text(at.REGISTRY_ALLOWED.name), config=config)

    def both(status: dict[str, Any]) -> bool:
        return len(status["scopes"][0]["cover"]["covered"]) == 2

    machine.ramnet.wait_status(both, 20)
    found = by_code(machine.ramnet.command("caveats", "--json").check().out)
    machine.ramnet.down().check()
    machine.ramnet.close()
    return found


@pytest.fixture(scope="module")
def others(request: pytest.FixtureRequest, debian_sid: ForeignRoot | None) -> None:
    """All machines but the busy one."""
    names = ["odd", "guest", "blinkered", "quiet", "hidden", "puzzling", "wsl", "signed"]
    for name in names + ["newest"] * (debian_sid is not None):
        request.getfixturevalue(name)


@pytest.fixture(scope="module")
def busy(lab: Lab, machine: Machine, others: None) -> Found:
    """Everything at once; after the others, since it changes the machine."""
    _configure(machine)
    lab.docker.run("pull", IMAGE).check()  # while it has no proxy
    lab.docker.restart(config=DAEMON, environment=PROXIES)
    _run_containers(lab.docker)
    _import_image(lab.docker)
    machine.kubelet = machine.start("kubelet")
    machine.start("podman")
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
    vm.write("/run/dev/.docker/cli-plugins/docker-debug", "")


_REGISTRY = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: 127.0.0.1:5055}}
"""


def _import_image(docker: Docker) -> None:
    """From a file, by way of no registry."""
    archive = docker.vm.directory / "root.tar"
    tarfile.open(archive, "w").close()
    docker.run("import", str(archive), "from-file:1").check()


def _run_containers(docker: Docker) -> None:
    docker.run("tag", IMAGE, "moby/buildkit:buildx-stable-1").check()
    for name, arguments in CONTAINERS.items():
        # Not every machine may hand out all capabilities; what is made is as telling.
        how = ["create"] if name in STOPPED else ["run", "--detach"]
        docker.run(*how, "--name", name, *arguments, "sleep", "600").check()


A, COVERED, NO, UNKNOWN = State.ACTIVE, State.COVERED, State.ABSENT, State.UNKNOWN
STATES = [
    ("policy-unrestricted", A, "quiet", f"{POLICY}: enabled = false"),
    ("policy-unrestricted", NO, "bare", ""),
    ("policy-unrestricted", UNKNOWN, "hidden", f"{POLICY}:1: registry"),
    ("not-enforced", A, "odd", f"{POLICY}: enforce = false"),
    ("not-enforced", NO, "bare", ""),
    ("not-enforced", UNKNOWN, "hidden", f"{POLICY}:1: registry"),
    ("buildx-docker-container", A, "busy", "container buildx_buildkit_x0: BuildKit builder x0"),
    ("buildx-docker-container", NO, "bare", ""),
    ("buildx-docker-container", UNKNOWN, "hidden", "containers of dockerd (pid"),
    ("kubernetes", A, "busy", "kubelet (pid"),
    ("kubernetes", A, "busy", "container node: of kind"),
    ("kubernetes", NO, "bare", ""),
    ("kubernetes", UNKNOWN, "hidden", "containers of dockerd (pid"),
    ("kubernetes", UNKNOWN, "blinkered", "CAP_SYS_PTRACE"),
    ("other-engines", A, "busy", "is in no scope"),
    ("other-engines", A, "busy", "is in scope dockerd, and restricted with it"),
    ("other-engines", COVERED, "guest", "podman (pid"),
    ("other-engines", NO, "bare", ""),
    ("other-engines", UNKNOWN, "hidden", "/run/none"),
    ("other-engines", UNKNOWN, "blinkered", "CAP_SYS_PTRACE"),
    ("exemptions", A, "busy", "[[exempt]] uid=0 proto=udp port=123"),
    ("exemptions", NO, "bare", ""),
    ("privileged-containers", A, "busy", "container strong (stopped): --privileged"),
    ("privileged-containers", A, "busy", "container able (stopped): --cap-add SYS_ADMIN"),
    ("privileged-containers", NO, "bare", ""),
    ("privileged-containers", UNKNOWN, "hidden", "containers of dockerd (pid"),
    ("host-access-containers", A, "busy", "container socket: has /run/docker.sock"),
    ("host-access-containers", A, "busy", "container pids: --pid host"),
    ("host-access-containers", NO, "bare", ""),
    ("host-access-containers", UNKNOWN, "hidden", "containers of dockerd (pid"),
    ("host-network-containers", A, "busy", "container near: --network host"),
    ("host-network-containers", NO, "bare", ""),
    ("host-network-containers", UNKNOWN, "hidden", "containers of dockerd (pid"),
    ("docker-group", A, "busy", "/run/docker.sock: group docker: dev"),
    ("docker-group", NO, "bare", ""),
    ("docker-group", UNKNOWN, "hidden", "docker.sock: No such file"),
    ("docker-group", UNKNOWN, "puzzling", "members of group docker that sss may name"),
    ("mark-or-uid-forgery", A, "busy", "has CAP_NET_ADMIN"),
    ("mark-or-uid-forgery", NO, "quiet", ""),
    ("mark-or-uid-forgery", UNKNOWN, "hidden", "/run/none"),
    ("mark-or-uid-forgery", UNKNOWN, "blinkered", "CAP_SYS_PTRACE"),
    ("raw-sockets", A, "busy", "AF_PACKET socket of python"),
    ("raw-sockets", A, "busy", "has CAP_NET_RAW"),
    ("raw-sockets", NO, "quiet", ""),
    ("raw-sockets", UNKNOWN, "hidden", "/run/none"),
    ("raw-sockets", UNKNOWN, "blinkered", "CAP_SYS_PTRACE"),
    ("local-forwarders", A, "busy", "docker-registry (pid"),
    ("local-forwarders", A, "busy", "listens on 127.0.0.1:5055"),
    ("local-forwarders", A, "busy", "container cache: pull-through cache of https://elsewhere.exa"),
    ("local-forwarders", NO, "bare", ""),
    ("local-forwarders", UNKNOWN, "hidden", "/run/none"),
    ("insecure-registries", A, "busy", "198.51.100.0/24"),
    ("insecure-registries", A, "busy", "plain.example:5000"),
    ("insecure-registries", NO, "bare", ""),
    ("insecure-registries", UNKNOWN, "hidden", "configuration of dockerd (pid"),
    ("registry-mirrors", A, "busy", "https://mirror.example"),
    ("registry-mirrors", NO, "bare", ""),
    ("registry-mirrors", UNKNOWN, "hidden", "configuration of dockerd (pid"),
    (
        "registry-redirections",
        A,
        "busy",
        "odd.example/hosts.toml sends odd.example to https://other",
    ),
    ("registry-redirections", NO, "bare", ""),
    ("registry-redirections", UNKNOWN, "puzzling", "broken.example/hosts.toml: it is not TOML"),
    ("registry-redirections", UNKNOWN, "puzzling", "folder.example/hosts.toml: Is a directory"),
    ("containers-dns-open", A, "busy", 'containers_dns = "allow"'),
    ("containers-dns-open", NO, "bare", ""),
    ("broad-hosts", A, "busy", "storage.googleapis.com is shared by all tenants"),
    ("broad-hosts", NO, "bare", ""),
    ("broad-hosts", UNKNOWN, "hidden", f"{POLICY}:1: registry"),
    ("policy-stale", A, "expired", "expired: it expired at "),
    ("policy-stale", NO, "fresh", ""),
    ("policy-stale", NO, "bare", ""),
    ("policy-stale", UNKNOWN, "stranger", "the service is not running"),
    ("sign-in-not-enforced", A, "odd", "[session] enforce = false"),
    ("sign-in-not-enforced", NO, "bare", ""),
    ("wsl-all-distributions", A, "odd", "this kernel cannot tell the cgroup apart"),
    ("wsl-all-distributions", NO, "bare", ""),
    ("wsl-all-distributions", UNKNOWN, "hidden", "/run/none"),
    ("buildx-kubernetes", A, "busy", "/run/dev/.docker/buildx/instances/far: driver kubernetes"),
    ("buildx-kubernetes", A, "busy", "kubeconfig /run/dev/.kube/config"),
    ("buildx-kubernetes", NO, "bare", ""),
    ("buildx-kubernetes", UNKNOWN, "puzzling", "instances/broken: it is no builder of buildx's"),
    ("buildx-kubernetes", UNKNOWN, "puzzling", "instances/link: Too many levels of symbolic link"),
    ("buildx-kubernetes", UNKNOWN, "puzzling", "homes of users that sss may name"),
    ("buildx-docker-container", COVERED, "covered", "builder x0, image moby/buildkit:buildx-stab"),
    ("kubernetes", COVERED, "covered", "container node: of kind"),
    ("docker-debug", A, "busy", "plugin /run/dev/.docker/cli-plugins/docker-debug"),
    ("docker-debug", NO, "bare", ""),
    ("docker-debug", UNKNOWN, "puzzling", "homes of users that sss may name"),
    ("docker-load", A, "busy", "image from-file:1 was loaded, imported or built here"),
    ("docker-load", NO, "bare", ""),
    ("docker-load", UNKNOWN, "hidden", "images of dockerd (pid"),
    ("windows-containers", UNKNOWN, "odd", "192.0.2.2:3128 can be reached from outside"),
    ("windows-containers", A, "wsl", WSL),
    ("embedded-dns-shared", A, "newest", "itself asks for the names that containers on user-def"),
    ("embedded-dns-shared", UNKNOWN, "hidden", "did not tell its version"),
    ("docker-proxies", A, "busy", "names the proxy 192.0.2.77:8080"),
    ("docker-proxies", NO, "bare", ""),
    ("docker-proxies", UNKNOWN, "hidden", "configuration of dockerd (pid"),
    ("no-proxy", A, "busy", "past.example"),
    ("no-proxy", NO, "bare", ""),
    ("no-proxy", UNKNOWN, "hidden", "configuration of dockerd (pid"),
    ("kernel-capabilities", A, "odd", "tier redirect: "),
    ("kernel-capabilities", UNKNOWN, "hidden", "/run/none"),
    ("domain-fronting", A, "busy", "cdn.registry.gitlab-static.net"),
    ("domain-fronting", NO, "quiet", ""),
    ("domain-fronting", UNKNOWN, "hidden", f"{POLICY}:1: registry"),
    ("push-pull", A, "busy", "/etc/ramnet/policy.toml"),
    ("cli-fetches", A, "busy", "scope dockerd: by namespace"),
]
"""Code, state, the machine that is in it, and words of the evidence."""

BY_PARTS = {
    ("embedded-dns-shared", NO): "test_embedded_dns_is_as_its_dockerd_is",
    ("windows-containers", NO): "test_windows_containers_are_as_the_kernel_is",
    ("kernel-capabilities", NO): "test_kernel_capabilities_are_as_kernel_and_library_are",
}
"""What hangs on the machine that runs the tests: its dockerd, its kernel."""


@pytest.mark.parametrize(
    ("code", "state", "machine_in_it", "words"),
    STATES,
    ids=[f"{code}-{state}-{where}" for code, state, where, _ in STATES],
)
def test_state(
    request: pytest.FixtureRequest, code: str, state: State, machine_in_it: str, words: str
) -> None:
    found: Found = request.getfixturevalue(machine_in_it)
    report = found[code]
    assert report["state"] == state, report["evidence"]
    if words:
        assert any(words in line for line in report["evidence"]), report["evidence"]
    else:
        assert report["evidence"] == []


def test_every_state_that_a_caveat_can_come_to_has_a_test() -> None:
    reachable = {(caveat.code, state) for caveat in CAVEATS for state in caveat.states}
    assert reachable == {(code, state) for code, state, _, _ in STATES} | BY_PARTS.keys()
    assert all(callable(globals().get(name)) for name in BY_PARTS.values())


@pytest.mark.parametrize(
    "name",
    [
        *("bare", "odd", "guest", "blinkered", "quiet", "hidden", "puzzling", "stranger", "busy"),
        *("wsl", "newest", "covered"),
    ],
)
def test_no_machine_is_in_a_state_that_its_caveat_does_not_name(
    request: pytest.FixtureRequest, name: str
) -> None:
    found: Found = request.getfixturevalue(name)
    for caveat in CAVEATS:
        assert found[caveat.code]["state"] in caveat.states, caveat.code


OPEN = {"windows-containers"}
"""Unknown for what is configured, not for what may not be looked at."""


@pytest.mark.parametrize(
    "code", [c.code for c in CAVEATS if UNKNOWN in c.states if c.code not in OPEN]
)
def test_unknown_to_who_may_not_look(stranger: Found, code: str) -> None:
    assert stranger[code]["state"] == UNKNOWN
    assert stranger[code]["evidence"]


def test_embedded_dns_is_as_its_dockerd_is(lab: Lab, machine: Machine, newest: Found) -> None:
    """This machine's own and sid's: one on each side of Docker 28, where this one is Debian's."""
    version = lab.docker.run("version", "--format", "{{.Server.Version}}").check().out.strip()
    report = machine.look(DEFAULT_CONFIG, policy_text())["embedded-dns-shared"]
    shared = int(version.partition(".")[0]) >= 28
    assert report["state"] == (A if shared else NO)
    assert all(version in line for line in report["evidence"])
    assert len(report["evidence"]) == shared
    (told,) = newest["embedded-dns-shared"]["evidence"]
    assert int(told.removeprefix("dockerd ").partition(".")[0]) >= 28


def test_kernel_capabilities_are_as_kernel_and_library_are(newest: Found) -> None:
    """libnftables 1.1 can have a table outlive its owner, and Linux since 6.9; all else is old."""
    report = newest["kernel-capabilities"]
    if _kernel() >= (6, 9):
        assert (report["state"], report["evidence"]) == (NO, [])
    else:
        assert report["state"] == A
        assert all("persist" in line for line in report["evidence"])


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split(".")[:2])


def test_windows_containers_are_as_the_kernel_is(machine: Machine, bare: Found) -> None:
    release = machine.vm.run(["uname", "--kernel-release"]).check().out.strip()
    report = bare["windows-containers"]
    inside = "microsoft" in release.lower() or "linuxkit" in release.lower()
    assert report["state"] == (A if inside else NO)
    assert all(release in line for line in report["evidence"])


def test_without_a_configuration_there_is_no_report(machine: Machine) -> None:
    """So what it alone decides is never unknown."""
    told = machine.vm.run([PROGRAM, "caveats", "--json", "--config", "/etc/ramnet/none.toml"])
    assert (told.code, told.out) == (2, "")


def test_many_processes_do_not_slow_it_down(machine: Machine, busy: Found) -> None:
    """0.4 s on a quiet machine, the start of Python included; the bound is for a busy one."""
    many = "for n in $(seq 300); do sleep 600 & done; echo open; wait"
    process = machine.vm.start(["sh", "-c", many], log="many")
    machine.started.append(process)
    wait_until("300 processes", lambda: process.log().endswith("open\n"))
    machine.ramnet.write_config(BUSY_CONFIG)
    took = [machine.ramnet.command("caveats", "--json").check().seconds for _ in range(3)]
    process.stop()
    assert min(took) < 5, took


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
