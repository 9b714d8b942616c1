"""Scopes that are one cgroup, with real programs: dockerd, curl, a second distribution.

Two simulated WSL distributions share the vm's network namespace; each has its own mounts, pids
and host name.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.lab import Capture, Host, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.processes import Result
from tests.lab.service import CONFIG, PROGRAM
from tests.lab.vm import Vm
from tests.system.conftest import POLICY, sentence

_CURL = ("curl", "--silent", "--show-error", "--max-time", "5", "--insecure")
_ALLOWED = f"https://{at.FILES_ALLOWED.name}/hello.txt"
_BLOCKED = f"https://{at.FILES_BLOCKED.name}/hello.txt"
EXEC = (PROGRAM, "exec", "--config", CONFIG, "--")
FAMILY = pytest.mark.parametrize("family", ["-4", "-6"])


def config(cgroup: str, more: str = "") -> str:
    return f"""
policy = "/etc/ramnet/policy.toml"
state_dir = "{{state}}"
control_socket = "/run/ramnet/control.sock"
[[scope]]
name = "dockerd"
netns = "self"
cgroup = "{cgroup}"
{more}
[proxy]
explicit = ["127.0.0.1:3128"]
"""


def run_in(vm: Host, *command: str, scope: str = "dockerd", seconds: float = 30) -> Result:
    argv = [PROGRAM, "exec", "--config", CONFIG, "--scope", scope, "--", *command]
    return vm.run(argv, seconds=seconds)


@pytest.fixture(scope="module")
def distribution(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The other distribution: ordinary tools in the same network namespace."""
    place = tmp_path_factory.mktemp("distribution")
    other = Host.create("ubuntu", place / "ubuntu", network_of=lab.vm)
    other.write("/etc/resolv.conf", lab.vm.path("/etc/resolv.conf").read_text())
    yield other
    other.close()


@pytest.fixture(scope="module", params=["cgroup2", "net_cls"])
def scoped(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Ramnet]:
    """The service with one cgroup as its scope, by either means."""
    lab.ramnet.close()
    lab.ramnet.without = "socket_cgroupv2" if request.param == "net_cls" else ""
    lab.ramnet.start(POLICY, config=config(lab.directory.name))
    assert lab.ramnet.status()["scopes"][0]["scoping"] == request.param
    yield lab.ramnet
    lab.docker.stop()
    lab.ramnet.close()
    lab.ramnet.without = ""


@FAMILY
def test_members_are_decided_by_name(scoped: Ramnet, vm: Vm, capture: Capture, family: str) -> None:
    assert run_in(vm, *_CURL, family, _ALLOWED).check()
    refused = run_in(vm, *_CURL, family, _BLOCKED)
    assert sentence(at.FILES_BLOCKED.name) in refused.out
    blocked = capture.settle().sent_by_vm()
    assert not blocked.to_site(at.FILES_BLOCKED)
    assert not blocked.where(lambda packet: packet.dns_name == at.FILES_BLOCKED.name)


@FAMILY
def test_the_other_distribution_is_untouched(
    scoped: Ramnet, vm: Vm, distribution: Host, family: str
) -> None:
    for host in (distribution, vm):
        assert host.run([*_CURL, family, _BLOCKED]).check()
        answer = host.run(
            ["curl", "--max-time", "5", "--silent", f"http://{at.FILES_BLOCKED.ipv4}/"]
        )
        assert answer.ok


def test_an_address_a_resolver_and_a_proxy_open_nothing(
    scoped: Ramnet, vm: Vm, capture: Capture
) -> None:
    site = at.FILES_BLOCKED
    proxy = vm.start(["sh", "-c", f"exec {PROXY}"], log="proxy")
    vm.wait_listening(8899, proxy)
    time.sleep(0.5)  # until the port is known to listen
    try:
        for extra in (
            ["--resolve", f"{site.name}:443:{site.ipv4}"],
            ["--proxy", "http://127.0.0.1:8899"],
            ["--proxytunnel", "--proxy", "http://127.0.0.1:8899"],
        ):
            got = run_in(vm, *_CURL, "--fail", *extra, _BLOCKED)
            assert not got.ok
        assert not capture.settle().sent_by_vm().to_site(site)
        through = vm.run([*_CURL, "--proxy", "http://127.0.0.1:8899", _BLOCKED])
        assert through.ok, through.text
    finally:
        proxy.stop()


_PROXY_CODE = (
    "import socket,threading\n"
    "l=socket.create_server(('127.0.0.1',8899))\n"
    "def pump(a,b):\n"
    "    while (d:=a.recv(65536)): b.sendall(d)\n"
    "    b.shutdown(1)\n"
    "def serve(c):\n"
    "    host,port=c.recv(4096).split()[1].decode().rsplit(':',1)\n"
    "    u=socket.create_connection((host,int(port)))\n"
    "    c.sendall(b'HTTP/1.1 200 ok\\r\\n\\r\\n')\n"
    "    threading.Thread(target=pump,args=(c,u),daemon=True).start()\n"
    "    pump(u,c)\n"
    "while True:\n"
    "    c,_=l.accept()\n"
    "    threading.Thread(target=serve,args=(c,),daemon=True).start()\n"
)
PROXY = f'python3 -c "{_PROXY_CODE}"'


def test_the_explicit_proxy_serves_members(scoped: Ramnet, vm: Vm) -> None:
    proxy = ("--proxy", "http://127.0.0.1:3128")
    assert run_in(vm, *_CURL, *proxy, _ALLOWED).check()
    refused = run_in(vm, *_CURL, *proxy, f"http://{at.FILES_BLOCKED.name}/")
    assert sentence(at.FILES_BLOCKED.name) in refused.text


def test_a_closed_port_refuses_and_a_service_answers(scoped: Ramnet, vm: Vm) -> None:
    closed = run_in(vm, *_CURL, "http://127.0.0.1:8898/")
    assert closed.code == 7, closed.text  # CURLE_COULDNT_CONNECT
    service = vm.start(["python3", "-m", "http.server", "8897", "--bind", "127.0.0.1"], log="http")
    vm.wait_listening(8897, service)
    time.sleep(0.5)
    try:
        assert run_in(vm, *_CURL, "http://127.0.0.1:8897/").ok
    finally:
        service.stop()


def test_dockerd_in_the_scope_and_after_its_restart(
    lab: Lab, scoped: Ramnet, vm: Vm, capture: Capture
) -> None:
    scoped.command("ca", "install").check()
    lab.docker.stop()
    for _ in range(2):
        lab.docker.start(prefix=EXEC)
        allowed = lab.docker.run("pull", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}")
        assert allowed.ok, allowed.text
        refused = lab.docker.run("pull", f"{at.REGISTRY_BLOCKED.name}/{at.IMAGE}")
        assert sentence(at.REGISTRY_BLOCKED.name) in refused.text
        lab.docker.stop()
    scoped.command("ca", "remove").check()
    assert not capture.settle().sent_by_vm().to_site(at.REGISTRY_BLOCKED)


@pytest.mark.parametrize("parent", ["below", "elsewhere"])
def test_a_container_in_the_host_network(
    lab: Lab, scoped: Ramnet, vm: Vm, capture: Capture, parent: str
) -> None:
    """Restricted where its cgroup is below the scope's.

    Elsewhere it is as free as containers on a bridge are: cgroup2 tells it apart. Our own mount
    of net_cls is none that runc puts containers into, so there they stay in dockerd's class.
    """
    place = lab.directory.name if parent == "below" else f"{lab.directory.name}.elsewhere"
    image = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
    lab.docker.stop()
    lab.docker.start(prefix=EXEC)
    try:
        lab.docker.run("pull", image).check()
        run = ["run", "--rm", "--network", "host", "--cgroup-parent", f"/{place}", image]
        fetch = [*run, "wget", "-q", "-O", "-"]
        allowed = lab.docker.run(*fetch, f"http://{at.FILES_ALLOWED.name}/hello.txt")
        blocked = lab.docker.run(*fetch, f"http://{at.FILES_BLOCKED.name}/hello.txt")
    finally:
        lab.docker.stop()
        vm.run(["sh", "-c", f"rmdir /sys/fs/cgroup/*/{lab.directory.name}.elsewhere"])
    assert allowed.ok, allowed.text
    free = parent == "elsewhere" and scoped.without == ""
    assert blocked.ok == free, blocked.text
    assert bool(capture.settle().sent_by_vm().to_site(at.FILES_BLOCKED)) == free


def test_exec_refuses_rather_than_run_unrestricted(scoped: Ramnet, vm: Vm) -> None:
    assert run_in(vm, "true").code == 0
    assert run_in(vm, "sh", "-c", "exit 7").code == 7
    assert run_in(vm, "true", scope="nobody").code == 2
    assert vm.run([PROGRAM, "exec", "--config", CONFIG]).code == 2
    assert run_in(vm, "/no/such/program").code == 2


def test_exec_after_a_stop_is_closed_and_after_down_refused(scoped: Ramnet, vm: Vm) -> None:
    text = vm.path(CONFIG).read_text()
    scoped.stop()
    assert not run_in(vm, *_CURL, _ALLOWED).ok
    scoped.down().check()
    refused = run_in(vm, "touch", "/run/it-ran")
    assert refused.code == 3, refused.text
    assert not vm.path("/run/it-ran").exists()
    scoped.start(config=text)


def test_both_are_restricted_where_nothing_tells_them_apart(
    lab: Lab, vm: Vm, distribution: Host
) -> None:
    lab.ramnet.close()
    lab.ramnet.without = "socket_cgroupv2,meta_cgroup"
    try:
        lab.ramnet.start(POLICY, config=config(lab.directory.name))
        status = lab.ramnet.status()
        (scope,) = status["scopes"]
        assert any("WSL" in warning for warning in status["warnings"])
        assert scope["scoping"] == "namespace"
        assert "WSL" in scope["scoping_reason"]
        for host in (distribution, vm):
            assert sentence(at.FILES_BLOCKED.name) in host.run([*_CURL, _BLOCKED]).out
        assert run_in(vm, *_CURL, _ALLOWED).ok
    finally:
        lab.ramnet.close()
        lab.ramnet.without = ""
