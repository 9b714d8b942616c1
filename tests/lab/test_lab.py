"""The lab itself, without ramnet: everything works and is seen, so that a zero means something."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import Capture, Docker, Lab
from tests.lab import addresses as at
from tests.lab.catchall import GREETING
from tests.lab.inet import Inet
from tests.lab.processes import wait_until
from tests.lab.sweep import sweep
from tests.lab.vm import Vm

pytestmark = pytest.mark.lab

REGISTRIES = (at.REGISTRY_ALLOWED, at.REGISTRY_BLOCKED, at.REDIRECT_ALLOWED)


@pytest.mark.parametrize("site", REGISTRIES, ids=lambda site: site.name)
def test_pull_works_and_is_captured(docker: Docker, capture: Capture, site: at.Site) -> None:
    docker.forget()
    pulled = docker.run("pull", f"{site.name}/{at.IMAGE}").check()
    assert "Downloaded newer image" in pulled.text
    seen = capture.settle()
    assert seen.sent_by_vm().to_site(site).protocol("tcp")
    assert site.name in seen.dns_names
    assert site.name in seen.server_names
    assert docker.run("run", "--rm", f"{site.name}/{at.IMAGE}").check().out == f"{site.name}\n"


def test_blobs_of_the_redirecting_registry_come_from_the_cdn(
    docker: Docker, capture: Capture
) -> None:
    docker.forget()
    docker.run("pull", f"{at.REDIRECT_ALLOWED.name}/{at.IMAGE}").check()
    seen = capture.settle()
    assert at.CDN.name in seen.server_names
    from_cdn = sum(len(packet.payload) for packet in seen if packet.source in at.CDN.addresses)
    assert from_cdn > 500_000


@pytest.mark.parametrize("site", REGISTRIES, ids=lambda site: site.name)
def test_push_arrives(docker: Docker, inet: Inet, site: at.Site) -> None:
    docker.run("pull", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}").check()
    target = f"{site.name}/library/pushed:{site.ipv4}"
    docker.run("tag", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}", target).check()
    docker.run("push", target).check()
    assert inet.registries[site.name].tags("library/pushed") == [site.ipv4]


def test_login_is_wanted_and_works(docker: Docker) -> None:
    docker.forget()
    name = at.LOGIN_ALLOWED.name
    assert "no basic auth credentials" in docker.run("pull", f"{name}/{at.IMAGE}").text
    assert "401" in docker.login(name, at.USER, "wrong").text
    assert "Login Succeeded" in docker.login(name, at.USER, at.PASSWORD).check().out
    docker.run("pull", f"{name}/{at.IMAGE}").check()


@pytest.mark.parametrize("buildkit", [False, True], ids=["legacy", "buildkit"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_build_from_and_add(docker: Docker, capture: Capture, scheme: str, buildkit: bool) -> None:
    docker.forget()
    docker.build(
        f"FROM {at.REGISTRY_BLOCKED.name}/{at.IMAGE}\n"
        f"ADD {scheme}://{at.FILES_BLOCKED.name}/hello.txt /hello.txt\n",
        buildkit=buildkit,
    ).check()
    said = docker.run("run", "--rm", "built", "cat", "/hello.txt").check().out
    assert said == f"hello from {at.FILES_BLOCKED.name}\n"
    assert capture.settle().sent_by_vm().to_site(at.FILES_BLOCKED)


@pytest.mark.parametrize("buildkit", [False, True], ids=["legacy", "buildkit"])
def test_build_of_a_git_context(docker: Docker, buildkit: bool) -> None:
    context = f"https://{at.GIT_ALLOWED.name}/context.git"
    docker.build_from(context, buildkit=buildkit).check()


def test_containers_resolve_and_fetch(docker: Docker) -> None:
    image = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
    docker.run("pull", image).check()
    docker.run("network", "create", "custom").check()
    for network in ("bridge", "custom"):
        fetched = docker.run(
            "run", "--rm", "--network", network, image,
            "wget", "-q", "-O", "-", f"http://{at.FILES_BLOCKED.name}/hello.txt",
        )  # fmt: skip
        assert fetched.check().out == f"hello from {at.FILES_BLOCKED.name}\n"
    docker.run("network", "rm", "custom").check()


def test_a_published_port_is_reached_from_outside(docker: Docker, inet: Inet) -> None:
    image = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
    docker.run("pull", image).check()
    docker.run("run", "--detach", "--publish", "8080:80", image, "httpd", "-f", "-h", "/").check()
    said = inet.run(["curl", "-sS", "--retry-connrefused", "--retry", "5",
                     f"http://{at.VM_IPV4}:8080/label"])  # fmt: skip
    assert said.check().out == f"{at.REGISTRY_ALLOWED.name}\n"
    docker.forget()


@pytest.mark.parametrize("address", [*at.FOREIGN_RESOLVER.addresses, "198.51.100.200"])
@pytest.mark.parametrize("port", [22, 853, 3128, 60000])
def test_every_port_answers_over_tcp(vm: Vm, address: str, port: int) -> None:
    with vm.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.settimeout(5)
        client.connect((address, port))
        if port != 853:
            assert client.recv(100) == GREETING


@pytest.mark.parametrize("address", [*at.FOREIGN_RESOLVER.addresses, "203.0.113.200"])
@pytest.mark.parametrize("port", [123, 443, 853, 60000])
def test_every_port_answers_over_udp(vm: Vm, capture: Capture, address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with vm.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"anybody?", (address, port))
        assert client.recv(100) == b"anybody?"
    sent = capture.settle().sent_by_vm().to(address).protocol("udp").port(port)
    assert [packet.payload for packet in sent] == [b"anybody?"]


def test_resolvers_tell_different_addresses(vm: Vm) -> None:
    def ask(server: str, name: str, kind: str, *more: str) -> list[str]:
        return vm.run(["dig", "+short", *more, f"@{server}", name, kind]).check().out.split()

    for server in at.RESOLVER.addresses:
        for transport in ("+notcp", "+tcp"):
            assert ask(server, at.CDN.name, "A", transport) == [at.CDN.ipv4]
            assert ask(server, at.CDN.name, "AAAA", transport) == [at.CDN.ipv6]
        assert ask(server, "no.such.name.example", "A") == [at.ANYWHERE.ipv4]
        alias = ask(server, "alias.allowed.example", "A")
        assert alias == [f"{at.REGISTRY_BLOCKED.name}.", at.REGISTRY_BLOCKED.ipv4]
    for server in at.FOREIGN_RESOLVER.addresses:
        assert ask(server, at.CDN.name, "AAAA") == [at.FOREIGN_ANSWER.ipv6]


def test_the_resolver_learns_a_name(vm: Vm, inet: Inet) -> None:
    inet.resolver.give("late.example", "203.0.113.40")
    assert vm.run(["dig", "+short", "late.example"]).check().out == "203.0.113.40\n"
    inet.resolver.give("late.example", "203.0.113.41")
    assert vm.run(["dig", "+short", "late.example"]).check().out == "203.0.113.41\n"


def test_capture_is_complete_after_a_burst(vm: Vm, capture: Capture) -> None:
    with vm.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(2000):
            sender.sendto(number.to_bytes(2, "big"), ("203.0.113.50", 9))
    sent = capture.settle().sent_by_vm().to("203.0.113.50").port(9)
    assert [int.from_bytes(packet.payload, "big") for packet in sent] == list(range(2000))


def test_capture_reads_ipv6_as_scapy_does(vm: Vm, capture: Capture) -> None:
    with vm.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", (at.ANYWHERE.ipv6, 4433))
    (packet,) = capture.settle().sent_by_vm().to(at.ANYWHERE.ipv6)
    layers = packet.scapy
    assert (layers["IPv6"].dst, layers["UDP"].dport) == (packet.destination, packet.ports[1])


def test_two_hosts_can_share_a_network(vm: Vm, tmp_path: Path) -> None:
    second = Vm.create("other", tmp_path / "other", network_of=vm)
    try:
        assert second.run(["hostname"]).out == "other\n"
        network = ["readlink", "/proc/self/ns/net"]
        assert second.run(network).out == vm.run(network).out
        assert second.run(["cat", "/etc/resolv.conf"]).out == ""
    finally:
        second.close()
    assert vm.run(["curl", "-sS", f"http://{at.FILES_ALLOWED.name}/hello.txt"]).ok


def test_a_killed_lab_leaves_nothing_behind(tmp_path: Path) -> None:
    program = (
        "import sys, time; from tests.lab import Lab; lab = Lab.create(); lab.docker.start();"
        "print(lab.directory, lab.vm.pid, lab.inet.pid, flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert owner.stdout is not None
    with owner.stdout:
        directory, *pids = owner.stdout.readline().split()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    for pid in pids:
        wait_until("the host ends", lambda pid=pid: not Path("/proc", pid).exists())  # type: ignore[misc]
    assert Path(directory) in sweep()
    assert not Path(directory).exists()


def test_closing_a_lab_leaves_nothing_behind(tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    made = Lab.create()
    pids = made.vm.pid, made.inet.pid
    made.docker.start()
    made.docker.run("pull", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}").check()
    made.docker.run("run", "--detach", f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}", "sleep", "600")
    made.close()
    assert not made.directory.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{made.directory.name}"))
    assert Path("/proc/self/mountinfo").read_text() == before
